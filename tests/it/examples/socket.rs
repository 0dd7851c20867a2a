//! The socket of the sidecar example: the two containers of a pod run as different users.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::{Stage, eventually, logical, soon};

/// A command as another user, when we are root and can be one: 65532 is greenroom in its image, 1000 Backstage in its.
fn as_user(uid: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if root {
        command.uid(uid).gid(uid);
    }
    command.stdin(Stdio::null()).kill_on_drop(true).current_dir("/");
    command
}

#[tokio::test]
async fn a_socket_on_a_volume_is_reached_by_another_user_of_no_common_group() {
    let stage = Stage::shared().await;
    let pod = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(pod.path(), Permissions::from_mode(0o755)).expect("ours");
    // An emptyDir, as the kubelet makes it.
    let volume = pod.path().join("volume");
    std::fs::create_dir(&volume).expect("ours");
    std::fs::set_permissions(&volume, Permissions::from_mode(0o777)).expect("ours");
    let config = pod.path().join("app-config.yaml");
    let (port, user, database) = (stage.postgres().port(), &stage.login, &stage.database);
    let settings = serde_json::json!({
        "backend": { "database": { "client": "pg", "connection": {
            "host": "127.0.0.1", "port": port, "user": user, "password": stage.password, "database": database,
        } } },
        "greenroom": { "listen": [{ "socket": volume }], "http": false, "division": "schema",
            "log": { "level": "warn" } },
    });
    std::fs::write(&config, settings.to_string()).expect("ours");
    // A checkout may be where nobody else can go.
    let binary = pod.path().join("greenroom");
    // By another process: a program that is open for writing cannot be started, and whoever forks here has what is open.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_greenroom")).arg(&binary).status().await.expect("cp");
    assert!(copied.success());

    let mut greenroom = as_user(65532, &binary).arg("serve").arg("--config").arg(&config).spawn().expect("it starts");
    let socket = volume.join(".s.PGSQL.6432");
    eventually("the socket is there", async || socket.exists()).await;
    let psql = as_user(1000, stage.postgres().bin_dir().join("psql"))
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", "select current_schema()"])
        .env("PGHOST", &volume)
        .env("PGPORT", "6432")
        .env("PGUSER", user)
        .env("PGPASSWORD", &stage.password)
        .env("PGDATABASE", logical("catalog"))
        .output();
    let said = soon("psql", psql).await.expect("it starts");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "catalog\n", "{}", String::from_utf8_lossy(&said.stderr));

    let pid = greenroom.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there").success());
    assert!(soon("its end", greenroom.wait()).await.expect("a status").success());
    assert!(!socket.exists(), "the socket goes with it");
}
