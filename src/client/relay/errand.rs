//! What a client asked for and greenroom does itself: CREATE DATABASE and DROP DATABASE, where databases are schemas, and
//! LISTEN; and the wait for what stands in for a client that a signal is for.
//!
//! While an errand runs nothing more that the client sends is looked at, so that answers keep their order; that it has left is
//! noticed, and ends the errand.

use std::pin::Pin;
use std::sync::Arc;

use super::hearing::Listening;
use super::lending::Lending;
use super::{Flow, Relay};
use crate::cancel::CancelPlace;
use crate::client::provisioning;
use crate::client::reply::{self, Reply};
use crate::metrics::ClientState;
use crate::pool::Lease;
use crate::protocol::tag::TxStatus;
use crate::protocol::{message, sqlstate};
use crate::route::Route;
use crate::sql::statement::Statement;

/// Something that is being done for the client, which a cancel can end.
pub(super) struct Errand<'a> {
    pub(super) done: Pin<Box<dyn Future<Output = Done> + Send + 'a>>,
    pub(super) cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(super) task: Task,
}

/// How it ends, and what it brings.
pub(super) type Done = Result<Option<Box<Lease>>, Reply>;

/// What it is.
pub(super) enum Task {
    /// CREATE DATABASE.
    Create,
    /// LISTEN.
    Listen(Box<Listening>),
    /// A wait for a server that stands in for a client.
    StandIn,
}

impl Relay<'_> {
    /// Answers a statement about a database. `None` if it is about one that is really a database: PostgreSQL answers.
    pub(super) fn on_database(&mut self, statement: Statement) -> Option<Flow> {
        let (name, drops, options) = match &statement {
            Statement::CreateDatabase { name, options } => (name, false, *options),
            Statement::DropDatabase { name } => (name, true, false),
            _ => return None,
        };
        let route = match self.shared.routes.resolve(name, None) {
            Ok(route) => route,
            // There is no such database to drop, and PostgreSQL says so.
            Err(_) if drops => return None,
            Err(error) => return Some(self.errand_is_done(Err(Reply::Ours(reply::no_such_place(&error))))),
        };
        let schema = route.target.schema.clone();
        match schema {
            Some(schema) if drops => Some(self.errand_is_done(Err(Reply::Ours(reply::not_dropped(&route, &schema))))),
            Some(_) if options => Some(self.errand_is_done(Err(Reply::Ours(reply::no_options(name))))),
            Some(_) => {
                self.create(route);
                Some(Flow::Continue(()))
            }
            None => None,
        }
    }

    fn create(&mut self, route: Arc<Route>) {
        let shared = self.shared;
        let place = Arc::clone(&self.key.place);
        self.key.place.waits();
        self.state.set(ClientState::Waiting);
        self.errand = Some(Errand {
            done: Box::pin(async move { provisioning::create(&route, shared).await.map(|()| None) }),
            cancelled: Box::pin(async move { CancelPlace::cancelled_while_waiting(&place).await }),
            task: Task::Create,
        });
    }

    /// The client is told, and what it has sent meanwhile is read.
    pub(super) fn on_errand_done(&mut self, done: Done) -> Flow {
        let task = self.errand.take().map(|errand| errand.task);
        match &mut self.lending {
            Lending::Leased(lease) => {
                self.key.place.leases(Arc::clone(&lease.server().cancel));
                self.state.set(if self.pinned.is_some() { ClientState::Pinned } else { ClientState::Active });
            }
            _ => {
                self.key.place.rests();
                self.state.set(ClientState::Idle);
            }
        }
        match task {
            Some(Task::Listen(listening)) => self.on_listens(&listening, done.map(drop))?,
            Some(Task::StandIn) => self.on_stand_in(done),
            _ => self.errand_is_done(done.map(drop))?,
        }
        self.on_client_bytes(0)
    }

    fn errand_is_done(&mut self, done: Result<(), Reply>) -> Flow {
        match done {
            Ok(()) => message::command_complete(&mut self.own, "CREATE DATABASE"),
            Err(error) => {
                self.log_refusal(&error);
                error.write(&mut self.own);
            }
        }
        message::ready_for_query(&mut self.own, TxStatus::Idle);
        self.turn_passes();
        Flow::Continue(())
    }

    /// Somebody has to do something about a refusal, but for those that happen in the best of families: two replicas that
    /// create the same database, and a client that has changed its mind.
    fn log_refusal(&self, error: &Reply) {
        let ((code, text), plugin) = (error.summary(), &*self.metrics.name);
        if [sqlstate::DUPLICATE_DATABASE, sqlstate::QUERY_CANCELED].contains(&&*code) {
            tracing::info!(plugin, code, error = text, "statement about a database refused");
        } else {
            let (detail, remedy) = error.advice();
            tracing::warn!(plugin, code, error = text, detail, remedy, "statement about a database refused");
        }
    }
}
