//! A connection from its startup message to its first ReadyForQuery, and its end when nothing comes of it.
//!
//! From its startup message on PostgreSQL has a process for it, which takes up one of its places until it has ended, also
//! when nobody wants the connection any more.

use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::wire::Wire;
use crate::net::Stream;

/// The longest that PostgreSQL's end of a connection is waited for. It ends a login by itself after a minute
/// (authentication_timeout); what takes longer is a network that keeps a connection open for nobody.
pub const LONGEST_END: Duration = Duration::from_secs(120);

/// How long others may wait for what such a connection takes up.
const SOON: Duration = Duration::from_secs(1);

/// What a connection takes up for as long as PostgreSQL may have a process for it.
pub trait Footprint: Send + 'static {
    /// Nothing comes of the connection: only PostgreSQL's end of it is waited for.
    fn leaves(&mut self);

    /// That takes long: nobody should wait for it.
    fn stays(&mut self);
}

impl Footprint for () {
    fn leaves(&mut self) {}

    fn stays(&mut self) {}
}

/// A connection that is logging in. Dropped before that is over it is ended in the background, and what it takes up
/// comes back when PostgreSQL has closed its end.
pub(super) struct Attempt<P: Footprint>(Option<(Wire, P)>);

impl<P: Footprint> Attempt<P> {
    pub(super) fn begin(stream: Stream, footprint: P) -> Self {
        Self(Some((Wire::new(stream), footprint)))
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        &mut self.0.as_mut().expect("only done and drop take it out").0
    }

    /// It is logged in.
    pub(super) fn done(mut self) -> (Wire, P) {
        self.0.take().expect("only this and drop take it out")
    }

    /// It was refused: waits until PostgreSQL has closed its end, and gives back what it took up, for another one. Dropping the
    /// future waits on in the background.
    pub(super) async fn over(mut self) -> P {
        let _ = timeout(LONGEST_END, self.wire().end()).await;
        self.done().1
    }
}

impl<P: Footprint> Drop for Attempt<P> {
    fn drop(&mut self) {
        let Some((mut wire, mut footprint)) = self.0.take() else { return };
        // Outside a runtime (the process is ending) dropping the socket is all that can be done.
        let Ok(runtime) = Handle::try_current() else { return };
        footprint.leaves();
        runtime.spawn(async move {
            let mut end = pin!(wire.end());
            if timeout(SOON, &mut end).await.is_err() {
                footprint.stays();
                let _ = timeout(LONGEST_END, end).await;
            }
            drop(footprint);
        });
    }
}
