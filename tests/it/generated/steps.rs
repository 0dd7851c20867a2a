//! What a generated script is made of.

use std::fmt::Write as _;

use crate::harness::Frame;
use crate::harness::frames;

/// One client does one thing.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) client: usize,
    pub(super) act: Act,
}

/// What a client does.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Says this in one write, and listens to the end of all of it.
    Say(Vec<Word>),
    /// Goes, with a goodbye or without, and comes back as another one with these startup parameters.
    Leave { kindly: bool, startup: Vec<(&'static str, &'static str)> },
}

/// A message, readable.
#[derive(Debug, Clone)]
pub(super) enum Word {
    Query(String),
    Parse(&'static str, String),
    Bind { portal: &'static str, statement: &'static str, parameters: Vec<String> },
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    Execute(&'static str, i32),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    CopyData(&'static str),
    CopyDone,
    CopyFail,
    Flush,
    Sync,
}

impl Word {
    /// As it goes over the wire.
    pub(super) fn frame(&self) -> Frame {
        match self {
            Self::Query(sql) => frames::query(sql),
            Self::Parse(name, sql) => frames::parse(name, sql),
            Self::Bind { portal, statement, parameters } => {
                let parameters: Vec<_> = parameters.iter().map(|value| Some(&**value)).collect();
                frames::bind(portal, statement, &parameters)
            }
            Self::DescribeStatement(name) => frames::describe_statement(name),
            Self::DescribePortal(name) => frames::describe_portal(name),
            Self::Execute(portal, limit) => frames::execute(portal, *limit),
            Self::CloseStatement(name) => frames::close_statement(name),
            Self::ClosePortal(name) => frames::close_portal(name),
            Self::CopyData(data) => frames::copy_data(*data),
            Self::CopyDone => frames::copy_done(),
            Self::CopyFail => frames::copy_fail("given up"),
            Self::Flush => frames::flush(),
            Self::Sync => frames::sync(),
        }
    }
}

/// A script as a list to read and to type in again.
pub(super) fn printed(steps: &[Step]) -> String {
    let mut out = String::new();
    for Step { client, act } in steps {
        match act {
            Act::Say(words) => _ = writeln!(out, "  client {client}: {words:?}"),
            Act::Leave { kindly, startup } => {
                let how = if *kindly { "leaves" } else { "vanishes" };
                _ = writeln!(out, "  client {client} {how}, and comes back with {startup:?}");
            }
        }
    }
    out
}
