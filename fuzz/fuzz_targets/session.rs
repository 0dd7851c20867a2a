//! A session under any interleaving of client, server and lease.
#![no_main]

#[path = "../../src/session/model_tests.rs"]
mod model;

// The model names things as the crate that it is part of does.
use greenroom_fuzz::{protocol, session, sql};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<model::Step>| model::check(&steps));
