//! Promises about examples/: the parts of each fit together, and they do what they say.

mod container;
mod scripts;
mod socket;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use container::{Container, document, documents};
use greenroom::config::{Config, Connection, HttpAddress, ListenAddress, ServerAddress, SslMode, is_loopback};
use secrecy::ExposeSecret as _;
use serde_yaml::Value;

const OVERLAY: &str = "/etc/backstage/app-config.greenroom.yaml";

fn connection(config: &Config) -> &Connection {
    &config.database.base_place().expect("the base is on PostgreSQL").connection
}

/// greenroom finds nothing wrong with its configuration, and Backstage logs in as greenroom wants it to, without TLS, at
/// `expected`, by the overlay that greenroom itself prints.
fn assert_led(theirs: &Container, ours: &Container, host: &[&str], expected: &ServerAddress) {
    ours.says(&["check", "--offline"]);
    let printed = ours.says(&[&["overlay"], host].concat());
    let [printed, mounted] = [printed, theirs.mounted(OVERLAY)].map(|yaml| serde_yaml::from_str::<Value>(&yaml));
    assert_eq!(printed.expect("YAML"), mounted.expect("YAML"));
    let (overlay, greenroom) = (theirs.overlay(OVERLAY), ours.greenroom());
    let (theirs, ours) = (connection(&overlay), connection(&greenroom));
    assert_eq!(&theirs.server.address, expected);
    assert_eq!(theirs.server.tls.mode, SslMode::Disable);
    assert_eq!(theirs.login.user, ours.login.user);
    let [theirs, ours] =
        [theirs, ours].map(|to| to.login.client_password.as_ref().map(|password| password.text.expose_secret()));
    assert_eq!(theirs, ours);
}

/// The number that a port of the container has by name.
fn port(container: &Container, name: &Value) -> u16 {
    let ports = container.described["ports"].as_sequence().expect("a list of ports");
    let port = ports.iter().find(|port| &port["name"] == name).unwrap_or_else(|| panic!("no port {name:?}"));
    u16::try_from(port["containerPort"].as_u64().expect("a number")).expect("a port")
}

fn tcp(host: &str, port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: host.into(), port }
}

#[test]
fn the_sidecars_backstage_is_led_to_its_socket() {
    let documents = documents("examples/kubernetes/sidecar.yaml");
    let [ours, theirs] = ["greenroom", "backstage"].map(|name| Container::of_manifest(&documents, name));
    let greenroom = ours.greenroom();
    let [listener] = &greenroom.listeners[..] else { panic!("one listener: {:?}", greenroom.listeners) };
    let ListenAddress::Unix { directory, port } = listener.address.clone() else { panic!("a socket: {listener:?}") };
    assert_eq!(ours.volumes.get(&directory), theirs.volumes.get(&directory), "the socket's directory is shared");
    assert!(ours.volumes.contains_key(&directory), "and it is a volume: {directory:?}");
    assert_led(&theirs, &ours, &[], &ServerAddress::Unix { directory, port });
    assert_eq!(theirs.described["args"].as_sequence().and_then(|args| args.last()), Some(&OVERLAY.into()));
}

#[test]
fn the_services_backstage_is_led_to_its_port() {
    let documents = documents("examples/kubernetes/service.yaml");
    let ours = Container::of_manifest(&documents, "greenroom");
    let greenroom = ours.greenroom();
    let service = &document(&documents, "Service", "greenroom")["spec"];
    let open = port(&ours, &service["ports"][0]["targetPort"]);
    let reached = ListenAddress::Tcp { host: "0.0.0.0".into(), port: open };
    assert!(greenroom.listeners.iter().any(|listener| listener.address == reached), "{:?}", greenroom.listeners);
    let pods = &document(&documents, "Deployment", "greenroom")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["selector"], pods);
    for (kind, selector) in [("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")] {
        assert_eq!(&document(&documents, kind, "greenroom")["spec"][selector]["matchLabels"], pods, "{kind}");
    }

    // The example has no Deployment of Backstage: its pods are given the same secret and this file.
    let overlay = document(&documents, "ConfigMap", "backstage-greenroom")["data"]["app-config.greenroom.yaml"].clone();
    let files = BTreeMap::from([(PathBuf::from(OVERLAY), overlay.as_str().expect("a file").to_owned())]);
    let theirs = Container { environment: ours.environment.clone(), files, ..Container::default() };
    let port = u16::try_from(service["ports"][0]["port"].as_u64().expect("a number")).expect("a port");
    assert_led(&theirs, &ours, &["--host", "greenroom"], &tcp("greenroom", port));
}

#[test]
fn the_compose_files_backstage_is_led_to_greenroom() {
    let compose = documents("examples/docker-compose.yaml").remove(0);
    let told = ["SUPERUSER_PASSWORD", "BACKSTAGE_PASSWORD", "BACKSTAGE_IMAGE"];
    let variables = told.map(|name| (name.to_owned(), format!("the {name}"))).into();
    let [postgres, ours, theirs] =
        ["postgres", "greenroom", "backstage"].map(|name| Container::of_compose(&compose, name, &variables));
    let greenroom = ours.greenroom();
    assert_led(&theirs, &ours, &["--host", "greenroom"], &tcp("greenroom", 6432));
    let reached = ListenAddress::Tcp { host: "0.0.0.0".into(), port: 6432 };
    assert!(greenroom.listeners.iter().any(|listener| listener.address == reached), "{:?}", greenroom.listeners);
    assert_eq!(connection(&greenroom).server.address, tcp("postgres", 5432));
    let login = connection(&greenroom).login.client_password.as_ref().map(|password| password.text.expose_secret());
    assert_eq!(login, Some(&*postgres.environment["BACKSTAGE_PASSWORD"]));
    assert_ne!(postgres.environment["POSTGRES_PASSWORD"], postgres.environment["BACKSTAGE_PASSWORD"]);
    assert!(postgres.files.contains_key(Path::new("/docker-entrypoint-initdb.d/init.sh")));
}

#[test]
fn the_kubelets_probes_reach_greenroom() {
    for file in ["examples/kubernetes/sidecar.yaml", "examples/kubernetes/service.yaml"] {
        let container = Container::of_manifest(&documents(file), "greenroom");
        let HttpAddress { host, port: http } = container.greenroom().http.expect("HTTP is served");
        assert!(!is_loopback(&host), "{file}: a probe comes from outside, {host}");
        let paths = ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| {
            let get = &container.described[probe]["httpGet"];
            assert_eq!(port(&container, &get["port"]), http, "{file}: {probe}");
            get["path"].as_str().expect("a path").to_owned()
        });
        assert_eq!(paths, ["/readyz", "/livez", "/readyz"], "{file}");
    }
}

#[test]
fn the_manifests_leave_time_for_a_drain_and_count_their_replicas() {
    for (file, deployment) in [("sidecar", "backstage"), ("service", "greenroom")] {
        let documents = documents(&format!("examples/kubernetes/{file}.yaml"));
        let config = Container::of_manifest(&documents, "greenroom").greenroom();
        let spec = &document(&documents, "Deployment", deployment)["spec"];
        let pod = &spec["template"]["spec"];
        let pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        let drain = config.shutdown_grace.as_secs() + 12;
        assert!(pod["terminationGracePeriodSeconds"].as_u64().expect("a number") >= pause + drain, "{file}");
        // Kubernetes' own maxSurge, a quarter, is one for up to four replicas.
        let surge = spec["strategy"]["rollingUpdate"]["maxSurge"].as_u64().unwrap_or(1);
        let replicas = spec["replicas"].as_u64().expect("a number");
        assert!(replicas <= 4 && u64::from(config.replicas) == replicas + surge, "{file}");
    }
}
