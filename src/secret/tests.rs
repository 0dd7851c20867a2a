//! Promises about files that change and commands that print: with small shell scripts for commands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{Secret, SecretError, Secrets};
use crate::config::{Login, Password, PasswordCommand, SecretText, ServerAddress};
use crate::metrics::Metrics;

/// A directory for scripts and files, and the secrets of a proxy.
struct Stage {
    directory: TempDir,
    metrics: Arc<Metrics>,
    secrets: Arc<Secrets>,
}

impl Stage {
    fn new() -> Self {
        let metrics = Metrics::new(1);
        let secrets = Secrets::new(Arc::clone(&metrics));
        Self { directory: tempfile::tempdir().unwrap(), metrics, secrets }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().count()
    }

    fn of(&self, password: Password) -> Arc<Secret> {
        let address = ServerAddress::Tcp { host: "db".into(), port: 5432 };
        let login = Login { user: "backstage".into(), password: Some(password), client_password: None };
        self.secrets.of(&address, &login).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> Arc<Secret> {
        self.write(name, text);
        let file: Arc<Path> = self.path(name).into();
        self.of(Password::Text(SecretText { text: text.trim_end().into(), file: Some(file) }))
    }

    /// A script that runs in the directory; `count` has a line for each run.
    fn command(&self, script: &str, describe: impl FnOnce(&mut PasswordCommand)) -> Arc<Secret> {
        let script = format!("cd '{}'; echo run >> count; {script}", self.directory.path().display());
        let mut command = PasswordCommand {
            command: vec!["sh".into(), "-c".into(), script],
            timeout: Duration::from_secs(20),
            valid_for: Duration::from_secs(900),
            refresh_before: Duration::from_secs(60),
        };
        describe(&mut command);
        self.of(Password::Command(command))
    }

    /// The counter of renewals with these labels.
    fn renewals(&self, source: &str, result: &str) -> u64 {
        let series = format!("greenroom_password_renewals_total{{result=\"{result}\",source=\"{source}\"}} ");
        let text = self.metrics.encode();
        text.lines().find_map(|line| line.strip_prefix(&series)).expect(&series).parse().unwrap()
    }
}

async fn current(secret: &Secret) -> Result<String, SecretError> {
    let current = timeout(Duration::from_secs(30), secret.current()).await.expect("in time");
    current.map(|password| password.expose_secret().to_owned())
}

async fn instead_of(secret: &Secret, refused: &str) -> Option<String> {
    let refused = SecretString::from(refused);
    let accepted = secret.last_accepted();
    let instead = secret.instead_of(&refused, accepted.as_ref());
    let other = timeout(Duration::from_secs(30), instead).await.expect("in time");
    other.map(|password| password.expose_secret().to_owned())
}

/// Waits until something holds that must.
async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("in time");
}

/// What a command that gives no password is told to be.
async fn failure(script: &str, describe: impl FnOnce(&mut PasswordCommand)) -> (String, Stage) {
    let stage = Stage::new();
    let secret = stage.command(script, describe);
    (current(&secret).await.expect_err(script).to_string(), stage)
}

#[tokio::test]
async fn a_file_is_read_again_and_its_last_text_stays_while_it_cannot_be() {
    let stage = Stage::new();
    let secret = stage.file("pw", "one\n");
    assert_eq!(current(&secret).await.unwrap(), "one");
    stage.write("pw", "two\n\n");
    assert_eq!(current(&secret).await.unwrap(), "two");
    assert_eq!((stage.renewals("file", "ok"), stage.renewals("file", "failed")), (1, 0));
    let broken: [&[u8]; 3] = [b"", b"\xff\xfe", &[b'x'; 70_000]];
    for text in broken {
        stage.write("pw", text);
        assert_eq!(current(&secret).await.unwrap(), "two");
    }
    std::fs::remove_file(stage.path("pw")).unwrap();
    assert_eq!(current(&secret).await.unwrap(), "two");
    std::fs::create_dir(stage.path("pw")).unwrap();
    assert_eq!(current(&secret).await.unwrap(), "two");
    assert_eq!(stage.renewals("file", "failed"), 5);
}

#[tokio::test]
async fn a_link_that_is_swapped_is_followed_as_kubernetes_swaps_it() {
    let stage = Stage::new();
    for name in ["v1", "v2"] {
        std::fs::create_dir(stage.path(name)).unwrap();
        stage.write(&format!("{name}/pw"), name);
    }
    let link = |name: &str, to: &str| std::os::unix::fs::symlink(stage.path(to), stage.path(name)).unwrap();
    link("..data", "v1");
    link("pw", "..data/pw");
    let file: Arc<Path> = stage.path("pw").into();
    let secret = stage.of(Password::Text(SecretText { text: "v1".into(), file: Some(file) }));
    assert_eq!(current(&secret).await.unwrap(), "v1");
    link("..data_tmp", "v2");
    std::fs::rename(stage.path("..data_tmp"), stage.path("..data")).unwrap();
    assert_eq!(current(&secret).await.unwrap(), "v2");
}

#[tokio::test]
async fn a_refused_password_is_replaced_by_a_newer_one_or_the_one_that_was_right() {
    let stage = Stage::new();
    let fixed = stage.of(Password::Text(SecretText::fixed("one")));
    fixed.accepted(&"zero".into());
    assert_eq!(instead_of(&fixed, "one").await, None, "there is only one");

    let secret = stage.file("pw", "one");
    assert_eq!(instead_of(&secret, "one").await, None);
    secret.accepted(&"one".into());
    stage.write("pw", "two");
    assert_eq!(instead_of(&secret, "one").await.as_deref(), Some("two"));
    // The file was faster than PostgreSQL.
    assert_eq!(instead_of(&secret, "two").await.as_deref(), Some("one"));
    // And PostgreSQL was faster than its answer.
    let before = secret.last_accepted();
    secret.accepted(&"two".into());
    let refused = SecretString::from("two");
    let again = secret.instead_of(&refused, before.as_ref()).await.expect("somebody got in with it");
    assert_eq!(again.expose_secret(), "two");
    assert_eq!(instead_of(&secret, "two").await, None);
}

#[tokio::test]
async fn a_command_runs_once_for_everybody_and_its_password_is_kept() {
    let stage = Stage::new();
    let secret = stage.command("sleep 0.3; echo geheim", |_| {});
    let askers: Vec<_> = (0..20)
        .map(|_| {
            let secret = Arc::clone(&secret);
            tokio::spawn(async move { current(&secret).await.unwrap() })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.await.unwrap(), "geheim");
    }
    assert_eq!(current(&secret).await.unwrap(), "geheim");
    assert_eq!((stage.lines("count"), stage.renewals("command", "ok")), (1, 1));
}

#[tokio::test]
async fn whoever_gives_up_waiting_does_not_end_the_run() {
    let stage = Stage::new();
    let secret = stage.command("sleep 0.5; echo geheim", |_| {});
    assert!(timeout(Duration::from_millis(50), secret.current()).await.is_err());
    assert_eq!(current(&secret).await.unwrap(), "geheim");
    assert_eq!(stage.lines("count"), 1);
}

#[tokio::test]
async fn a_password_in_use_is_renewed_before_its_end_and_an_unused_one_is_not() {
    let stage = Stage::new();
    let secret = stage.command("wc -l < count", |command| {
        command.valid_for = Duration::from_secs(2);
        command.refresh_before = Duration::from_millis(1500);
    });
    assert_eq!(current(&secret).await.unwrap(), "1");
    // Nobody waits for it. It comes after half of its life, though 1.5 seconds before the end are asked for.
    let began = Instant::now();
    until(|| stage.renewals("command", "ok") == 2).await;
    assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
    assert_eq!(current(&secret).await.unwrap(), "2");
    until(|| stage.renewals("command", "ok") == 3).await;
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(stage.lines("count"), 3, "nobody used the third");
    assert_eq!(current(&secret).await.unwrap(), "4", "its end has come, so a new one is waited for");
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_last_password_until_its_end() {
    let stage = Stage::new();
    let secret = stage.command("test -e broken && { echo no way >&2; exit 3; }; echo geheim", |command| {
        command.valid_for = Duration::from_secs(3);
        command.refresh_before = Duration::from_millis(2500);
    });
    assert_eq!(current(&secret).await.unwrap(), "geheim");
    stage.write("broken", "");
    until(|| stage.renewals("command", "failed") >= 1).await;
    assert_eq!(current(&secret).await.unwrap(), "geheim", "it is still good");
    sleep(Duration::from_secs(3)).await;
    let error = current(&secret).await.unwrap_err().to_string();
    assert_eq!(error, "passwordCommand: sh failed (exit status: 3): no way");
    std::fs::remove_file(stage.path("broken")).unwrap();
    let began = Instant::now();
    while current(&secret).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is tried again after a pause");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_command_that_fails_is_run_again_after_a_pause_only() {
    let stage = Stage::new();
    let secret = stage.command("exit 1", |_| {});
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        assert!(current(&secret).await.is_err());
        sleep(Duration::from_millis(10)).await;
    }
    // At once, after one second, and after two more.
    assert!((2..=3).contains(&stage.lines("count")), "{}", stage.lines("count"));
}

#[tokio::test]
async fn a_refused_password_is_asked_for_anew_once_and_then_after_a_pause() {
    let stage = Stage::new();
    let secret = stage.command("wc -l < count", |_| {});
    assert_eq!(current(&secret).await.unwrap(), "1");
    assert_eq!(instead_of(&secret, "1").await.as_deref(), Some("2"));
    assert_eq!(instead_of(&secret, "1").await.as_deref(), Some("2"), "others that were refused get the same");
    for _ in 0..10 {
        assert_eq!(instead_of(&secret, "2").await, None, "PostgreSQL takes none of them");
    }
    assert_eq!(stage.lines("count"), 2);
    secret.accepted(&"2".into());
    assert_eq!(instead_of(&secret, "2").await.as_deref(), Some("3"), "it took one in between");
}

#[tokio::test]
async fn a_run_from_before_the_change_is_followed_by_another_one() {
    let stage = Stage::new();
    stage.write("pw", "old");
    let secret = stage.command("cat pw > mine; sleep 0.5; cat mine", |command| {
        command.valid_for = Duration::from_millis(2500);
        command.refresh_before = Duration::from_millis(2000);
    });
    assert_eq!(current(&secret).await.unwrap(), "old");
    until(|| stage.lines("count") == 2).await;
    // The second run has read the old one, and prints it when PostgreSQL refuses it already.
    sleep(Duration::from_millis(200)).await;
    stage.write("pw", "new");
    assert_eq!(instead_of(&secret, "old").await.as_deref(), Some("new"));
    assert_eq!(stage.lines("count"), 3);
}

#[tokio::test]
async fn a_command_that_fails_hangs_or_prints_no_password_says_so() {
    let (told, _) = failure("echo geheim; echo oh geheim no >&2; exit 7", |_| {}).await;
    assert_eq!(told, "passwordCommand: sh failed (exit status: 7): oh *** no");
    let (told, _) = failure("kill -9 $$", |_| {}).await;
    assert!(told.starts_with("passwordCommand: sh failed (signal: 9"), "{told}");
    for (script, problem) in [
        (":", "printed nothing"),
        ("echo geheim; echo geheim", "printed several lines or control characters"),
        ("echo '{\"a\": \"geheim\"}'", "printed a JSON object without text in password or accessToken"),
        ("echo '{\"password\": \"geheim\", \"expiresAt\": 1}'", "printed a password that has expired already"),
        ("yes geheim", "printed more than 65536 bytes"),
    ] {
        let (told, stage) = failure(script, |_| {}).await;
        assert!(told.starts_with(&format!("passwordCommand: sh {problem}")) && !told.contains("geheim"), "{told}");
        assert_eq!(stage.renewals("command", "failed"), 1);
    }
    let (told, _) = failure("", |command| command.command = vec!["/does/not/exist".into()]).await;
    assert!(told.starts_with("passwordCommand: cannot run /does/not/exist: No such file"), "{told}");
    let (told, _) = failure("sleep 0.2; echo late", |command| command.valid_for = Duration::from_millis(1)).await;
    assert_eq!(told, "passwordCommand: sh printed a password that has expired already");
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_with_everything_it_started() {
    let began = Instant::now();
    let script = "sh -c 'echo $$ > child; exec sleep 600' & wait";
    let (told, stage) = failure(script, |command| command.timeout = Duration::from_millis(500)).await;
    assert_eq!(told, "passwordCommand: sh did not end within 500ms (timeoutMillis)");
    assert_eq!(stage.renewals("command", "timeout"), 1);
    assert!(began.elapsed() < Duration::from_secs(10));
    let child = std::fs::read_to_string(stage.path("child")).unwrap();
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while runs() {
        assert!(began.elapsed() < Duration::from_secs(20), "the child outlives the command");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_command_leaves_running_is_not_waited_for() {
    let stage = Stage::new();
    let secret = stage.command("sleep 5 & echo geheim", |_| {});
    let began = Instant::now();
    assert_eq!(current(&secret).await.unwrap(), "geheim");
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn one_login_has_one_secret_until_it_is_configured_anew() {
    let stage = Stage::new();
    let one = stage.of(Password::Text(SecretText::fixed("one")));
    assert!(Arc::ptr_eq(&one, &stage.of(Password::Text(SecretText::fixed("one")))));
    let two = stage.of(Password::Text(SecretText::fixed("two")));
    assert_eq!(current(&two).await.unwrap(), "two");
}

#[test]
fn a_run_that_begins_as_the_runtime_ends_hangs_nobody() {
    let stage = Stage::new();
    let secret = stage.command("echo secret", |_| ());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    // From here on whatever is begun is dropped at once.
    drop(runtime);
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _entered = handle.enter();
        let result = futures_util::FutureExt::now_or_never(secret.current());
        done.send(matches!(result, Some(Err(SecretError::GivenUp)))).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(true));
}
