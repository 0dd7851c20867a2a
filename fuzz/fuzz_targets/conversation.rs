//! A conversation through a session and one without it: the client cannot tell them apart.
#![no_main]

#[path = "../../src/session/conversation_tests.rs"]
mod model;
#[path = "../../src/session/postgres_tests.rs"]
mod postgres_tests;

// The model names things as the crate that it is part of does.
use greenroom_fuzz::{protocol, session, sql};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|turns: Vec<model::Turn>| model::check(&turns));
