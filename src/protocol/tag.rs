//! The first byte of a message, typed by its direction: the same letter means different things each way.

use std::fmt;

/// First byte of a message that a client sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frontend(pub u8);

/// First byte of a message that a server sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backend(pub u8);

macro_rules! tags {
    ($type:ident { $($name:ident = $byte:literal, $what:literal;)+ }) => {
        impl $type {
            $(#[doc = $what] pub const $name: Self = Self($byte);)+
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)+
                    Self(byte) => write!(f, "{:?}", char::from(byte)),
                }
            }
        }
    };
}

tags!(Frontend {
    BIND = b'B', "Bind: a statement and parameters become a portal.";
    CLOSE = b'C', "Close a statement or a portal.";
    COPY_DATA = b'd', "One piece of a COPY.";
    COPY_DONE = b'c', "The end of a COPY.";
    COPY_FAIL = b'f', "The client gives a COPY up.";
    DESCRIBE = b'D', "Describe a statement or a portal.";
    EXECUTE = b'E', "Run a portal.";
    FLUSH = b'H', "Send what is there, without ending the implicit transaction.";
    FUNCTION_CALL = b'F', "Fastpath call of one function.";
    PARSE = b'P', "Text becomes a prepared statement.";
    PASSWORD = b'p', "Any answer to an authentication request.";
    QUERY = b'Q', "The simple protocol: one message of text.";
    SYNC = b'S', "Ends a batch of the extended protocol.";
    TERMINATE = b'X', "The client says goodbye.";
});

tags!(Backend {
    AUTHENTICATION = b'R', "An authentication request, or its success.";
    BACKEND_KEY_DATA = b'K', "The key that cancels a query of this session.";
    BIND_COMPLETE = b'2', "Bind worked.";
    CLOSE_COMPLETE = b'3', "Close worked.";
    COMMAND_COMPLETE = b'C', "One statement ended well.";
    COPY_BOTH = b'W', "COPY in both directions, of replication.";
    COPY_DATA = b'd', "One piece of a COPY.";
    COPY_DONE = b'c', "The end of a COPY.";
    COPY_IN = b'G', "The server waits for COPY data.";
    COPY_OUT = b'H', "COPY data follows.";
    DATA_ROW = b'D', "One row.";
    EMPTY_QUERY = b'I', "The text held no statement.";
    ERROR = b'E', "ErrorResponse.";
    FUNCTION_CALL = b'V', "The result of a fastpath call.";
    NEGOTIATE_PROTOCOL = b'v', "The protocol versions and options the server lacks.";
    NO_DATA = b'n', "Describe: no rows will come.";
    NOTICE = b'N', "NoticeResponse; may come at any time.";
    NOTIFICATION = b'A', "A notification of LISTEN; may come at any time.";
    PARAMETER_DESCRIPTION = b't', "Describe: the types of the parameters.";
    PARAMETER_STATUS = b'S', "A reported setting has this value now; may come at any time.";
    PARSE_COMPLETE = b'1', "Parse worked.";
    PORTAL_SUSPENDED = b's', "Execute stopped at its row limit.";
    READY_FOR_QUERY = b'Z', "The answer is whole; says where the transaction stands.";
    ROW_DESCRIPTION = b'T', "The columns of the rows that follow.";
});

/// Where a server's transaction stands, as ReadyForQuery says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    /// No transaction is open.
    Idle,
    /// Inside a transaction block.
    Open,
    /// Inside a transaction block that failed: only its end is accepted.
    Failed,
}

impl TxStatus {
    /// Reads the status byte of ReadyForQuery; `None` for a byte that the protocol does not know.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::Open),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }
}
