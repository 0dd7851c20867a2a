//! What is logged and how, and how many plugins the metrics name.

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The least important line that is still written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What an operator should know.
    Warn,
    /// What happens once in a while.
    #[default]
    Info,
    /// Every login, connection and pin.
    Debug,
    /// More than anyone wants in production.
    Trace,
}

impl LogLevel {
    /// The word for it in a configuration, which is also tracing's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// What is written.
    pub level: LogLevel,
}

/// Metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetricsConfig {
    /// So many plugins get a label of their own; the rest fold into `other`.
    pub max_plugins: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { max_plugins: 50 }
    }
}
