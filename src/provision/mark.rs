//! The COMMENT of a schema, which says whose it is.

use crate::route::Target;

/// What it begins with, before the plugin's id.
const OF_PLUGIN: &str = "greenroom: schema of plugin ";

/// What stands before the deployment's prefix.
const OF_DEPLOYMENT: &str = " of the deployment with prefix ";

/// What it began with, before the deployment's prefix, when it did not name the plugin.
const WITHOUT_PLUGIN: &str = "greenroom: plugin schema of the deployment with prefix ";

/// Whose a schema is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The plugin; `None` in an old mark.
    pub plugin: Option<String>,
    /// The prefix of the deployment.
    pub deployment: String,
}

impl Mark {
    /// Reads a comment. `None` is one of somebody's own.
    pub fn read(comment: &str) -> Option<Self> {
        if let Some(deployment) = comment.strip_prefix(WITHOUT_PLUGIN) {
            return Some(Self { plugin: None, deployment: deployment.to_owned() });
        }
        // No plugin id has a blank in it.
        let (plugin, deployment) = comment.strip_prefix(OF_PLUGIN)?.split_once(OF_DEPLOYMENT)?;
        Some(Self { plugin: Some(plugin.to_owned()), deployment: deployment.to_owned() })
    }
}

/// The mark of the target's schema.
pub(super) fn of(target: &Target) -> String {
    format!("{}{}", beginning(target.plugin.as_str()), target.deployment)
}

/// What every mark of this plugin's schemas begins with, whatever the deployment.
pub(super) fn beginning(plugin: &str) -> String {
    format!("{OF_PLUGIN}{plugin}{OF_DEPLOYMENT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(plugin: Option<&str>, deployment: &str) -> Option<Mark> {
        Some(Mark { plugin: plugin.map(Into::into), deployment: deployment.into() })
    }

    #[test]
    fn a_mark_says_whose_schema_it_is() {
        let written = format!("{}acme_ of the deployment with prefix x", beginning("user-settings"));
        assert_eq!(Mark::read(&written), mark(Some("user-settings"), "acme_ of the deployment with prefix x"));
    }

    #[test]
    fn a_mark_from_before_plugins_were_named_is_read() {
        let old = "greenroom: plugin schema of the deployment with prefix backstage_plugin_";
        assert_eq!(Mark::read(old), mark(None, "backstage_plugin_"));
    }

    #[test]
    fn somebodys_own_comment_is_no_mark() {
        for comment in ["", "the catalog", "greenroom: schema of plugin catalog"] {
            assert_eq!(Mark::read(comment), None, "{comment}");
        }
    }
}
