//! `greenroom overlay`: merged over the files that it was made of, it leads to greenroom; it tells no secret.

use greenroom::config::{Config, Environment, ListenAddress, Password, ServerAddress};
use secrecy::ExposeSecret as _;

use crate::harness::{Client, Greenroom, Room, Typed};

/// The variables that the files of these tests refer to.
fn environment(room: &Room) -> Vec<(&'static str, String)> {
    let stage = room.stage();
    let url = format!(
        "postgresql://{}:{}@127.0.0.1:{}/{}",
        room.login,
        room.password.replace(' ', "%20"),
        stage.postgres().port(),
        stage.database
    );
    vec![
        ("POSTGRES_USER", room.login.clone()),
        ("POSTGRES_PASSWORD", room.password.clone()),
        ("POSTGRES_ENCODED", room.password.replace(' ', "%20")),
        ("POSTGRES_DATABASE", stage.database.clone()),
        ("POSTGRES_PORT", stage.postgres().port().to_string()),
        ("DATABASE_URL", url),
    ]
}

/// Prints the overlay of a `connection`, merges it over its file as Backstage does, and logs in as a plugin would.
async fn assert_a_plugin_gets_in(room: &Room, connection: &str, args: &[&str]) {
    let variables = environment(room);
    let text = format!(
        "backend:\n  database:\n    client: pg\n    connection: {connection}\ngreenroom:\n  division: schema\n"
    );
    let typed = variables.iter().fold(Typed::new(&text), |typed, (name, value)| typed.env(name, value));
    typed.write("postgres.password", &format!("{}\n", room.password));
    let told = typed.run(&[&["overlay"], args].concat()).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(!told.out.contains(&room.password) && !told.out.contains("%20"), "a secret: {}", told.out);

    typed.write("app-config.greenroom.yaml", &told.out);
    // greenroom's own reader refuses a way to greenroom, so to this one it listens elsewhere.
    typed.write("elsewhere.yaml", "greenroom: { listen: [{ port: 1 }] }\n");
    let files = ["app-config.yaml", "app-config.greenroom.yaml", "elsewhere.yaml"].map(|name| typed.dir().join(name));
    let environment: Environment = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let merged = Config::load(&files, &environment).unwrap_or_else(|errors| panic!("{errors}\n{}", told.out));
    let connection = &merged.database.base_place().expect("it is on PostgreSQL").connection;
    let address = match connection.server.address.clone() {
        ServerAddress::Tcp { host, port } => ListenAddress::Tcp { host, port },
        ServerAddress::Unix { directory, port } => ListenAddress::Unix { directory, port },
    };
    let Some(Password::Text(password)) = &connection.login.password else { panic!("it is a text") };
    let password = password.text.expose_secret();
    let client = Client::connect(&address, &connection.login.user, password, "backstage_plugin_catalog").await;
    assert_eq!(client.value("select current_schema()").await, "catalog", "{}", told.out);
}

const OBJECT: &str = "
      host: 127.0.0.1
      port: ${POSTGRES_PORT}
      user: ${POSTGRES_USER}
      password: ${POSTGRES_PASSWORD}
      database: ${POSTGRES_DATABASE}";

#[tokio::test]
async fn backstage_gets_in_with_whatever_way_its_connection_is_written() {
    let room = Greenroom::start().await;
    let ListenAddress::Tcp { port, .. } = room.address() else { panic!("the first listener is TCP") };
    let port = port.to_string();
    let in_clear = OBJECT.replace("${POSTGRES_PASSWORD}", &room.password);
    let in_a_file = OBJECT.replace("${POSTGRES_PASSWORD}", "{ $file: postgres.password }");
    let by_name = OBJECT.replace("${POSTGRES_PASSWORD}", "{ $env: POSTGRES_PASSWORD }");
    let defaulted = OBJECT.replace("${POSTGRES_PASSWORD}", &format!("${{NOT_SET:-{}}}", room.password));
    let string = "postgresql://${POSTGRES_USER}:${POSTGRES_ENCODED}@127.0.0.1:${POSTGRES_PORT}/${POSTGRES_DATABASE}?sslmode=disable";
    for connection in [OBJECT, &in_clear, &in_a_file, &by_name, &defaulted, string, "${DATABASE_URL}"] {
        assert_a_plugin_gets_in(&room, connection, &["--port", &port]).await;
    }
}

#[tokio::test]
async fn backstage_gets_in_by_the_unix_socket() {
    let room = Greenroom::start().unix().await;
    let ListenAddress::Unix { directory, port } = room.socket() else { panic!("the second listener is a socket") };
    let (directory, port) = (directory.display().to_string(), port.to_string());
    for connection in [OBJECT, "${DATABASE_URL}"] {
        assert_a_plugin_gets_in(&room, connection, &["--host", &directory, "--port", &port]).await;
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_rewritten_is_an_error_with_its_place() {
    let typed =
        Typed::new("backend: { database: { client: pg, connection: 'postgres://u:geheim@${HOST_AND_DATABASE}' } }\n");
    let typed = typed.env("HOST_AND_DATABASE", "db/shared");
    let told = typed.run(&["overlay"]).await;
    assert_eq!((told.code, told.out.as_str()), (1, ""));
    assert!(told.err.contains("app-config.yaml:1: backend.database.connection: "), "{told:?}");
    assert!(!told.err.contains("geheim"), "{told:?}");
}
