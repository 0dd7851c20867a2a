//! Promises about config/*.yaml and docs/configuration.md.
