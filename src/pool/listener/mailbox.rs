//! What has been heard for one client and not been given to it yet.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::metrics::DeafReason;
use crate::protocol::body;

/// What may wait for one client, in bytes. PostgreSQL keeps up to 8 GB for all of them.
pub const MOST_BYTES: usize = 4 << 20;

/// What a notification takes up beside its own bytes.
const OVERHEAD_BYTES: usize = 64;

/// A notification.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The number of the client that has sent it, where that is known; of the process else.
    pub pid: i32,
    /// Its channel and its payload, each with the NUL that ends it. All who hear it share it.
    pub rest: Bytes,
}

impl Notification {
    /// Reads the body of a NotificationResponse.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (pid, rest) = body.split_first_chunk::<4>()?;
        // A copy: what was read with it need not be kept as long.
        Some(Self { pid: i32::from_be_bytes(*pid), rest: Bytes::copy_from_slice(rest) })
    }

    /// Its channel.
    pub fn channel(&self) -> &[u8] {
        body::cstr(&self.rest).unwrap_or_default().0
    }
}

/// What has been heard for one client and not been given to it yet.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Mail>);

#[derive(Debug, Default)]
struct Mail {
    waiting: VecDeque<Notification>,
    bytes: usize,
    /// Nothing more comes, and something is missing.
    deaf: Option<DeafReason>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Something was heard. With too much of it the client is deaf.
    pub(super) fn put(&self, notification: &Notification) {
        let mut mail = self.0.lock();
        if mail.deaf.is_some() {
            return;
        }
        mail.bytes += notification.rest.len() + OVERHEAD_BYTES;
        if mail.bytes > MOST_BYTES {
            mail.waiting = VecDeque::new();
            mail.deaf = Some(DeafReason::Slow);
        } else {
            mail.waiting.push_back(notification.clone());
        }
        let waker = mail.waker.take();
        drop(mail);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Nothing will be heard any more. What was heard is still to be told.
    pub(super) fn lost(&self) {
        let mut mail = self.0.lock();
        mail.deaf.get_or_insert(DeafReason::Lost);
        let waker = mail.waker.take();
        drop(mail);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn deaf(&self) -> Option<DeafReason> {
        self.0.lock().deaf
    }

    /// Ready when there is something to be told.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut mail = self.0.lock();
        // Who cannot take it now is told of what comes on top all the same.
        match &mut mail.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        match mail.deaf.is_some() || !mail.waiting.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Everything that was heard.
    pub(super) fn take(&self) -> VecDeque<Notification> {
        let mut mail = self.0.lock();
        mail.bytes = 0;
        std::mem::take(&mut mail.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(payload: usize) -> Notification {
        let body = [&[0, 0, 0, 7], &b"a\0"[..], &vec![b'x'; payload], b"\0"].concat();
        Notification::read(&body).expect("a whole body")
    }

    #[test]
    fn what_was_heard_is_told_once_and_in_order() {
        let mailbox = Mailbox::default();
        mailbox.put(&notification(1));
        mailbox.put(&notification(2));
        let told: Vec<_> = mailbox.take().into_iter().map(|heard| (heard.pid, heard.rest.len())).collect();
        assert_eq!(told, [(7, 4), (7, 5)]);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn a_client_that_does_not_take_its_mail_is_deaf_rather_than_told_a_part_of_it() {
        let mailbox = Mailbox::default();
        let heard = notification(8000);
        let fits = MOST_BYTES / (heard.rest.len() + OVERHEAD_BYTES);
        (0..fits).for_each(|_| mailbox.put(&heard));
        assert_eq!(mailbox.deaf(), None);
        mailbox.put(&heard);
        assert_eq!((mailbox.deaf(), mailbox.take().len()), (Some(DeafReason::Slow), 0));
        mailbox.put(&heard);
        assert!(mailbox.take().is_empty());
    }
}
