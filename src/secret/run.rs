//! A run of a command: bounded in time and in what it may print, and ended together with whatever it started.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::error::SecretError;
use super::output::OutputError;
use crate::config::PasswordCommand;

/// The most that a command may print, in bytes.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// So much of the end of its standard error is told, in bytes.
const MAX_TOLD_BYTES: usize = 1000;

/// So much of it is kept until then: a password in it that begins before what is told must be recognized.
const MAX_KEPT_BYTES: usize = MAX_BYTES + MAX_TOLD_BYTES;

/// How long its pipes are read after it has ended: something that it left running may hold them open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs the command to its end and returns what it printed. Dropping the future ends the command.
pub(super) async fn run(command: &PasswordCommand) -> Result<Vec<u8>, SecretError> {
    let (program, arguments) = command.command.split_first().expect("the configuration has at least the program");
    let program = || program.clone();
    let started = Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = started.map_err(|source| SecretError::Start { program: program(), source: Arc::new(source) })?;
    let said = match timeout(command.timeout, listen(Group(child))).await {
        Ok(said) => said.map_err(|source| SecretError::Start { program: program(), source: Arc::new(source) })?,
        Err(_) => return Err(SecretError::TimedOut { program: program(), limit: command.timeout }),
    };
    match said {
        Said { stdout, .. } if stdout.len() > MAX_BYTES => {
            Err(SecretError::Output { program: program(), problem: OutputError::TooMuch })
        }
        Said { status: Some(status), stdout, .. } if status.success() => Ok(stdout),
        Said { status, stdout, stderr } => Err(SecretError::Failed {
            program: program(),
            status: status.map(|status| status.to_string()).unwrap_or_default(),
            stderr: told(&stderr, &stdout),
        }),
    }
}

/// A command that runs, as a group with what it starts. Dropped while it runs, all of it is ended: a wrapper in shell
/// would leave its program behind.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // There is no id once its end is known: then it may be somebody else's.
        let group = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

struct Said {
    /// `None` if it had not ended when too much was printed.
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn listen(mut group: Group) -> std::io::Result<Said> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out, err) = (group.0.stdout.take(), group.0.stderr.take());
    let status = {
        let reading = async { tokio::join!(first_bytes(out, &mut stdout), last_bytes(err, &mut stderr)) };
        let mut reading = std::pin::pin!(reading);
        tokio::select! {
            (too_much, ()) = &mut reading => match too_much {
                true => None,
                false => Some(group.0.wait().await?),
            },
            status = group.0.wait() => {
                let _ = timeout(LAST_WORDS, &mut reading).await;
                Some(status?)
            }
        }
    };
    Ok(Said { status, stdout, stderr })
}

/// Reads to the end, or to one byte more than is allowed: whether it was that.
async fn first_bytes(pipe: Option<impl AsyncRead + Unpin>, out: &mut Vec<u8>) -> bool {
    let Some(mut pipe) = pipe else { return false };
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = pipe.read(&mut bytes).await {
        out.extend_from_slice(&bytes[..len]);
        if out.len() > MAX_BYTES {
            return true;
        }
    }
    false
}

/// Reads to the end and keeps what came last.
async fn last_bytes(pipe: Option<impl AsyncRead + Unpin>, out: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = pipe.read(&mut bytes).await {
        out.extend_from_slice(&bytes[..len]);
        let surplus = out.len().saturating_sub(MAX_KEPT_BYTES);
        out.drain(..surplus);
    }
}

/// The end of standard error as one line, without anything that was also printed as if it were the password: as a line, or
/// in quotes in an object.
fn told(stderr: &[u8], stdout: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(stderr).into_owned();
    let stdout = String::from_utf8_lossy(stdout);
    let in_quotes = stdout.lines().flat_map(|line| line.split('"'));
    for secret in stdout.lines().chain(in_quotes).map(str::trim).filter(|secret| secret.len() > 3) {
        text = text.replace(secret, "***");
    }
    let told = text.len().saturating_sub(MAX_TOLD_BYTES);
    let told = (told..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let words: Vec<&str> =
        text[told..].split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    match words.is_empty() {
        true => "it said nothing on its standard error".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_one_line_without_the_password() {
        assert_eq!(
            told(b"+ echo geheim\n\x1b[31merror\x1b[0m:\n no way\n", b"geheim\n"),
            "+ echo *** [31merror [0m: no way"
        );
        assert_eq!(told(b" \n", b""), "it said nothing on its standard error");
        assert_eq!(told(b"+ token=geheim\n", b"{\"accessToken\": \"geheim\"}\n"), "+ token=***");
    }

    #[tokio::test]
    async fn the_end_of_a_long_password_is_not_told_either() {
        let script =
            "token=$(head -c 1500 /dev/zero | tr '\\0' k); echo $token; echo using $token for long >&2; exit 1";
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let limit = Duration::from_secs(10);
        let command = PasswordCommand { command, timeout: limit, valid_for: limit, refresh_before: limit };
        let error = run(&command).await.expect_err("it fails").to_string();
        assert!(error.ends_with("using *** for long"), "{error}");
    }
}
