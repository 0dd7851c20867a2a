//! Finds where one message ends, and refuses a length that cannot be right before anything reads the body.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a message's header: the tag and the length.
pub const HEADER_BYTES: usize = 5;

/// The longest message PostgreSQL takes after login (its MaxAllocSize), in bytes, length field included.
pub const MAX_MESSAGE_BYTES: u32 = 0x3fff_ffff;

/// The longest startup message PostgreSQL takes (MAX_STARTUP_PACKET_LENGTH), in bytes, length field included.
pub const MAX_STARTUP_BYTES: u32 = 10_000 + 4;

/// The longest password message PostgreSQL takes before a client is known (PG_MAX_AUTH_TOKEN_LENGTH), in bytes.
pub const MAX_AUTH_BYTES: u32 = 65_535;

/// Why bytes cannot be a message. The connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is below what its own four bytes take.
    #[error("invalid message length {len}")]
    Short {
        /// The length as sent.
        len: u32,
    },
    /// The length is above what this phase allows.
    #[error("message of {len} bytes is longer than {max}")]
    Long {
        /// The length as sent.
        len: u32,
        /// The most that is allowed here.
        max: u32,
    },
}

/// Tag and length of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The first byte; its meaning depends on the direction.
    pub tag: u8,
    /// Bytes of the whole message: tag, length field and body. Never below [`HEADER_BYTES`].
    pub total: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` while fewer than five bytes are there.
    ///
    /// # Errors
    /// A length below 4 or above `max` (length field included, tag not).
    #[inline]
    pub fn read(bytes: &[u8], max: u32) -> Result<Option<Self>, FrameError> {
        let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = u32::from_be_bytes([a, b, c, d]);
        check(len, max)?;
        Ok(Some(Self { tag, total: len as usize + 1 }))
    }
}

/// One whole message, split off from what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first byte; 0 for the messages of the startup phase, which have none.
    pub tag: u8,
    /// What follows the length field.
    pub body: Bytes,
}

/// Splits one message off the front of `buf`; `None` while it is not whole yet.
///
/// For the login phases and greenroom's own connections; the relay reads headers in place instead.
///
/// # Errors
/// A length below 4 or above `max`, as soon as the header is there.
pub fn take(buf: &mut BytesMut, max: u32) -> Result<Option<Frame>, FrameError> {
    let Some(header) = Header::read(buf, max)? else { return Ok(None) };
    if buf.len() < header.total {
        return Ok(None);
    }
    let mut body = buf.split_to(header.total).freeze();
    body.advance(HEADER_BYTES);
    Ok(Some(Frame { tag: header.tag, body }))
}

/// Splits one startup-phase message (no tag: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest) off `buf`.
///
/// The frame's body begins at the protocol version or request code.
///
/// # Errors
/// A length that cannot hold the code (below 8), or above [`MAX_STARTUP_BYTES`].
pub fn take_startup(buf: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(&len) = buf.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(len);
    if len < 8 {
        return Err(FrameError::Short { len });
    }
    check(len, MAX_STARTUP_BYTES)?;
    if buf.len() < len as usize {
        return Ok(None);
    }
    let mut body = buf.split_to(len as usize).freeze();
    body.advance(4);
    Ok(Some(Frame { tag: 0, body }))
}

#[inline]
fn check(len: u32, max: u32) -> Result<(), FrameError> {
    if len < 4 {
        return Err(FrameError::Short { len });
    }
    if len > max {
        return Err(FrameError::Long { len, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_below_four_is_refused_as_soon_as_it_is_seen() {
        for len in 0..4u8 {
            let bytes = [b'Q', 0, 0, 0, len];
            assert_eq!(Header::read(&bytes, 100), Err(FrameError::Short { len: len.into() }));
        }
    }

    #[test]
    fn a_claim_above_the_limit_is_refused_before_its_body_arrives() {
        let mut buf = BytesMut::from(&[b'p', 0x7f, 0xff, 0xff, 0xff][..]);
        assert_eq!(take(&mut buf, MAX_AUTH_BYTES), Err(FrameError::Long { len: 0x7fff_ffff, max: MAX_AUTH_BYTES }));
    }

    #[test]
    fn a_startup_message_too_short_for_its_code_is_refused() {
        let mut buf = BytesMut::from(&[0, 0, 0, 7, 0, 3, 0][..]);
        assert_eq!(take_startup(&mut buf), Err(FrameError::Short { len: 7 }));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
            frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..8),
            cut in 1usize..17,
        ) {
            let mut wire = Vec::new();
            for (tag, body) in &frames {
                wire.push(*tag);
                wire.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
                wire.extend_from_slice(body);
            }
            let (mut buf, mut seen) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(cut) {
                buf.extend_from_slice(piece);
                while let Some(frame) = take(&mut buf, 1000).expect("every length is right") {
                    seen.push((frame.tag, frame.body.to_vec()));
                }
            }
            prop_assert!(buf.is_empty());
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn no_bytes_make_it_panic_or_read_past_its_frame(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take(&mut buf, 64) {
                prop_assert!(frame.body.len() <= 60);
            }
            let _ = take_startup(&mut BytesMut::from(&bytes[..]));
        }
    }
}
