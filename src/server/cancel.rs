//! Asks PostgreSQL to cancel what one of its connections runs.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ConnectError, Connector};
use crate::protocol::message::cancel_request;

impl Connector {
    /// Sends a cancel request for the connection with this key, and waits until the server has closed: by then the signal
    /// is on its way. Whether anything was cancelled is not told. The caller sets the limit.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub async fn send_cancel(&self, pid: i32, secret: &[u8]) -> Result<(), ConnectError> {
        let mut stream = self.open().await?;
        stream.write_all(&cancel_request(pid, secret)).await.map_err(ConnectError::Lost)?;
        stream.flush().await.map_err(ConnectError::Lost)?;
        // PostgreSQL says nothing; an end by reset is an end as well.
        let mut nothing = [0; 64];
        while stream.read(&mut nothing).await.is_ok_and(|len| len > 0) {}
        Ok(())
    }
}
