//! Cleans up in our place should we be killed.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// A shell that waits for the end of its input, which comes when we end in whatever way, and then runs a command on `$1`.
/// Dropping it ends it without that.
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn new(command: &str, argument: impl AsRef<OsStr>) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("read -r _\n{command}"), "guard"]).arg(argument);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Out of reach of the terminal's Ctrl-C, which is one of those ways.
        Self(shell.process_group(0).spawn().expect("there is a shell"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Only then does its input end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
