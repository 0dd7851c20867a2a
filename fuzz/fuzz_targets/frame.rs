//! Whatever bytes come, and however they are cut: the same frames come out, none longer than its own bytes.
#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use greenroom_fuzz::protocol::body;
use greenroom_fuzz::protocol::frame::{self, Frame, FrameError, HEADER_BYTES, Header, MAX_STARTUP_BYTES};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    pieces: Vec<Piece>,
    cuts: Vec<u8>,
    max: u16,
}

/// Raw bytes alone would seldom make more than one frame.
#[derive(Debug, Arbitrary)]
enum Piece {
    Whole { tag: u8, body: Vec<u8> },
    Lying { tag: u8, len: u32, body: Vec<u8> },
    Startup { body: Vec<u8> },
    Raw(Vec<u8>),
}

/// What a reader makes of a stream: its frames, then perhaps a reason to stop, and what was left unread.
#[derive(Debug, PartialEq)]
struct Read {
    frames: Vec<Frame>,
    error: Option<FrameError>,
    left: usize,
}

type Take = fn(&mut BytesMut, u32) -> Result<Option<Frame>, FrameError>;

fuzz_target!(|input: Input| {
    let max = input.max.into();
    let wire = wire(&input.pieces);
    let startup: Take = |buf, _| frame::take_startup(buf);

    let whole = read([&wire[..]], max, frame::take);
    assert_eq!(whole, by_hand(&wire, max), "not the frames that are in the bytes");
    assert_eq!(whole, read(cut(&wire, &input.cuts), max, frame::take), "the cuts matter");
    let greeted = read([&wire[..]], max, startup);
    assert_eq!(greeted, read(cut(&wire, &input.cuts), max, startup), "the cuts matter to a startup message");

    let mut at = 0;
    for frame in &greeted.frames {
        let total = frame.body.len() + 4;
        assert!(frame.tag == 0 && (8..=MAX_STARTUP_BYTES as usize).contains(&total));
        assert_eq!(frame.body, wire[at + 4..at + total], "not the startup message that is in the bytes");
        at += total;
    }
    assert_eq!(at + greeted.left, wire.len());

    for frame in &whole.frames {
        body::cstr(&frame.body);
        body::error_field(&frame.body, b'C');
        body::parameter_status(&frame.body);
        body::data_row(&frame.body).for_each(drop);
    }
});

fn wire(pieces: &[Piece]) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in pieces {
        let len = |body: &[u8]| (body.len() as u32 + 4).to_be_bytes();
        match piece {
            Piece::Whole { tag, body } => wire.extend([&[*tag][..], &len(body), body].concat()),
            Piece::Lying { tag, len, body } => wire.extend([&[*tag][..], &len.to_be_bytes(), body].concat()),
            Piece::Startup { body } => wire.extend([&len(body), &body[..]].concat()),
            Piece::Raw(bytes) => wire.extend(bytes),
        }
    }
    wire
}

/// Pieces of the lengths that `cuts` says, 0 included, over and over.
fn cut<'a>(mut wire: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle().take(cuts.len() + wire.len()) {
        let (piece, rest) = wire.split_at((*cut as usize).min(wire.len()));
        pieces.push(piece);
        wire = rest;
    }
    pieces.push(wire);
    pieces
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max: u32, take: Take) -> Read {
    let (mut buf, mut read) = (BytesMut::new(), Read { frames: Vec::new(), error: None, left: 0 });
    for piece in pieces {
        buf.extend_from_slice(piece);
        while read.error.is_none() {
            match take(&mut buf, max) {
                Ok(Some(frame)) => read.frames.push(frame),
                Ok(None) => break,
                Err(error) => read.error = Some(error),
            }
        }
    }
    read.left = buf.len();
    read
}

/// The same by [`Header::read`] and arithmetic, as the relay does it.
fn by_hand(wire: &[u8], max: u32) -> Read {
    let (mut frames, mut rest) = (Vec::new(), wire);
    let error = loop {
        match Header::read(rest, max) {
            Ok(Some(Header { tag, total })) => {
                assert!(total >= HEADER_BYTES && total <= max as usize + 1);
                let Some(body) = rest.get(HEADER_BYTES..total) else { break None };
                frames.push(Frame { tag, body: body.to_vec().into() });
                rest = &rest[total..];
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Read { frames, error, left: rest.len() }
}
