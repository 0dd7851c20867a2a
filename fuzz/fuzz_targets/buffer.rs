//! `net::Buffer` against two plain vectors, whatever is done with it.
#![no_main]

#[path = "../../src/net/buffer_model_tests.rs"]
mod model;

// The model names things as the crate that it is part of does.
use greenroom_fuzz::net;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<model::Step>| model::check(&steps));
