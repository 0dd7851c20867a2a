//! The HTTP server: `/metrics`, `/livez`, `/readyz` and the status page.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::readiness::{Phase, Readiness};
use super::status_page;
use crate::metrics::Metrics;

/// How long answers under way may take after the shutdown began.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A refused accept is nearly always a lack of file descriptors, which takes a moment to end.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A request head is a line and a few headers.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Answers an operator's HTTP requests; bound, not yet serving.
pub struct HttpServer {
    listener: TcpListener,
    started: Instant,
    limits: Limits,
}

/// What nobody who can reach the port gets more of.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections served at once; further ones wait in the listener's backlog.
    connections: usize,
    /// From the accepted connection to the last byte of the answer: the longest that a client who sends or reads
    /// nothing keeps one of the places.
    time: Duration,
}

const LIMITS: Limits = Limits { connections: 64, time: Duration::from_secs(10) };

impl HttpServer {
    /// Binds the address; port 0 takes a free one. Uptime counts from here.
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind((host, port)).await?, started: Instant::now(), limits: LIMITS })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then lets answers under way finish for a moment. A drain is no reason to shut down: it
    /// is seen here, as `/readyz` and `/metrics`.
    pub async fn serve(self, readiness: Arc<Readiness>, metrics: Arc<Metrics>, shutdown: CancellationToken) {
        let pages = Arc::new(Pages { readiness, metrics, started: self.started });
        let mut connections = JoinSet::new();
        loop {
            // Accepting and joining lose nothing when they are dropped.
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < self.limits.connections => match accepted {
                    Ok((stream, _)) => {
                        let served = serve_connection(stream, pages.clone(), shutdown.clone());
                        connections.spawn(tokio::time::timeout(self.limits.time, served));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept an HTTP connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(self.listener);
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finished).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// One request, one connection: nobody keeps a place that he does not use, and a drain has nothing to wait for.
async fn serve_connection(stream: TcpStream, pages: Arc<Pages>, shutdown: CancellationToken) {
    let service = service_fn(|request| answer(request, pages.clone()));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

async fn answer<B>(request: Request<B>, pages: Arc<Pages>) -> Result<Response<Full<Bytes>>, Infallible> {
    let page = match request.uri().path() {
        "/metrics" | "/livez" | "/readyz" | "/" if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN_TEXT, "only GET and HEAD\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
        "/metrics" => pages.metrics().await,
        "/livez" => page(StatusCode::OK, PLAIN_TEXT, "ok\n"),
        "/readyz" => pages.readyz(),
        "/" => pages.status(),
        _ => page(StatusCode::NOT_FOUND, PLAIN_TEXT, "there are /metrics, /livez, /readyz and /\n"),
    };
    Ok(page)
}

/// What the answers are made of.
struct Pages {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Pages {
    async fn metrics(&self) -> Response<Full<Bytes>> {
        let metrics = self.metrics.clone();
        // It takes milliseconds and reads /proc: off the thread that relays.
        match tokio::task::spawn_blocking(move || metrics.encode()).await {
            Ok(text) => page(StatusCode::OK, METRICS_TEXT, text),
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics");
                page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN_TEXT, "cannot write the metrics\n")
            }
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        match self.readiness.phase() {
            Phase::Ready => page(StatusCode::OK, PLAIN_TEXT, "ok\n"),
            phase => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN_TEXT, format!("{}\n", phase.as_str())),
        }
    }

    fn status(&self) -> Response<Full<Bytes>> {
        let html = status_page::render(&self.metrics, self.readiness.phase(), self.started.elapsed());
        let mut page = page(StatusCode::OK, HTML, html);
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        page
    }
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    struct Served {
        address: SocketAddr,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Served {
        async fn start(limits: Limits) -> Self {
            let server = HttpServer { limits, ..HttpServer::bind("127.0.0.1", 0).await.unwrap() };
            let address = server.local_addr().unwrap();
            let (readiness, metrics) = (Arc::new(Readiness::starting()), Metrics::new(1000));
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(server.serve(readiness.clone(), metrics.clone(), shutdown.clone()));
            Self { address, readiness, metrics, shutdown, task }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Sends bytes and returns all that comes until the server closes.
        async fn send(&self, request: &[u8]) -> String {
            let mut stream = self.connect().await;
            stream.write_all(request).await.unwrap();
            read_all(&mut stream).await
        }

        /// Sends a request and returns status line and headers in lower case, and the body.
        async fn request(&self, method: &str, path: &str) -> (String, String) {
            let answer = self.send(format!("{method} {path} HTTP/1.1\r\nHost: greenroom\r\n\r\n").as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head.to_lowercase(), body.to_owned())
        }

        async fn get(&self, path: &str) -> (String, String) {
            self.request("GET", path).await
        }
    }

    /// All that comes until the connection ends; a reset ends it too, when the server did not want all that was sent.
    async fn read_all(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let read = async { while stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
        timeout(PATIENCE, read).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn metrics_are_served_as_prometheus_wants_them() {
        let served = Served::start(LIMITS).await;
        served.metrics.plugin("catalog").queries.inc();
        for plugin in 0..100 {
            served.metrics.plugin(&format!("plugin-{plugin}")); // far more text than one buffer holds
        }
        let (head, body) = served.get("/metrics?collect=all").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains("greenroom_queries_total{plugin=\"catalog\"} 1\n"), "{body}");
        assert!(body.ends_with('\n'));
    }

    #[tokio::test]
    async fn readyz_follows_the_phase_while_livez_stays() {
        let served = Served::start(LIMITS).await;
        let readyz = async || {
            let (head, body) = served.get("/readyz").await;
            (head.split(' ').nth(1).unwrap().to_owned(), body)
        };
        assert_eq!(readyz().await, ("503".to_owned(), "starting\n".to_owned()));
        served.readiness.set_ready();
        assert_eq!(readyz().await, ("200".to_owned(), "ok\n".to_owned()));
        served.readiness.set_draining();
        assert_eq!(readyz().await, ("503".to_owned(), "draining\n".to_owned()));

        let (head, body) = served.get("/livez").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(body, "ok\n");
    }

    #[tokio::test]
    async fn the_status_page_is_html_that_loads_nothing() {
        let served = Served::start(LIMITS).await;
        served.metrics.plugin("catalog");
        let (head, body) = served.get("/").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        assert!(body.contains("<td>catalog</td>"), "{body}");
        assert!(!body.contains("http://") && !body.contains("https://"), "{body}");
    }

    #[tokio::test]
    async fn head_is_answered_like_get_but_without_the_body() {
        let served = Served::start(LIMITS).await;
        let (head, body) = served.request("HEAD", "/livez").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-length: 3"), "{head}");
        assert_eq!(body, "");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let served = Served::start(LIMITS).await;
        for path in ["/metrics/", "/admin", "//", "/livez%00"] {
            let (head, _) = served.get(path).await;
            assert!(head.starts_with("http/1.1 404 "), "{path}: {head}");
        }
        for method in ["POST", "DELETE", "OPTIONS"] {
            let (head, _) = served.request(method, "/metrics").await;
            assert!(head.starts_with("http/1.1 405 "), "{method}: {head}");
            assert!(head.contains("allow: get, head"), "{method}: {head}");
        }
    }

    #[tokio::test]
    async fn a_connection_carries_one_request() {
        let served = Served::start(LIMITS).await;
        let request = "GET /livez HTTP/1.1\r\nHost: greenroom\r\n\r\n";
        let answer = served.send(request.repeat(2).as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_breaks_the_protocol_hurts_only_itself() {
        let served = Served::start(LIMITS).await;
        let endless = format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(MAX_REQUEST_BYTES));
        for nonsense in
            [b"\x00\x00\x00\x08\x04\xd2\x16\x2f".as_slice(), b"\r\n\r\n\r\nhello\r\n\r\n", endless.as_bytes()]
        {
            let answer = served.send(nonsense).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        drop(served.connect().await);
        assert_eq!(served.get("/livez").await.1, "ok\n");
    }

    #[tokio::test]
    async fn silent_clients_lose_their_places() {
        let served = Served::start(Limits { connections: 2, time: Duration::from_millis(200) }).await;
        let mut silent = [served.connect().await, served.connect().await];
        silent[1].write_all(b"GET /livez HT").await.unwrap();
        assert_eq!(served.get("/livez").await.1, "ok\n");
        for stream in &mut silent {
            assert_eq!(read_all(stream).await, "");
        }
    }

    #[tokio::test]
    async fn a_shutdown_ends_silent_connections_and_frees_the_port() {
        let served = Served::start(LIMITS).await;
        let mut silent = served.connect().await;
        assert_eq!(served.get("/livez").await.1, "ok\n"); // so the one before it is accepted too
        served.shutdown.cancel();
        timeout(PATIENCE, served.task).await.unwrap().unwrap();
        assert_eq!(read_all(&mut silent).await, "");
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
