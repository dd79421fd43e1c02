//! Standard streams of a process inside.

use super::link::Link;
use proto::session::OutputStream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Standard input of a process inside. A write waits while the process does not read; [`io::ErrorKind::BrokenPipe`]
/// when it has closed its end. Dropping it, or its shutdown, closes the stream.
#[derive(Debug)]
pub struct AsyncStdin {
    link: Arc<Link>,
}

impl AsyncStdin {
    pub(super) const fn new(link: Arc<Link>) -> Self {
        Self { link }
    }
}

impl AsyncWrite for AsyncStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.link
            .poll_for(context, |state, socket| state.offer(socket, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_for(context, |state, _| {
            (state.finished().is_some() || state.has_sent_all()).then_some(Ok(()))
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.session().close_stdin();
        self.poll_flush(context)
    }
}

impl Drop for AsyncStdin {
    fn drop(&mut self) {
        self.link.session().close_stdin();
    }
}

/// Standard output or error of a process inside. Independent of its sibling: a reader that stops reading holds back its
/// own stream only, and one that is dropped holds back nothing. A connection that breaks is an error here; a program
/// that could not be started is an end of file here and an error of the wait.
#[derive(Debug)]
pub struct AsyncOutput {
    link: Arc<Link>,
    stream: OutputStream,
}

impl AsyncOutput {
    pub(super) const fn new(link: Arc<Link>, stream: OutputStream) -> Self {
        Self { link, stream }
    }
}

impl AsyncRead for AsyncOutput {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unfilled = buffer.initialize_unfilled();
        let read = self
            .link
            .poll_for(context, |state, _| state.take(self.stream, unfilled));
        read.map_ok(|count| buffer.advance(count))
    }
}

impl Drop for AsyncOutput {
    fn drop(&mut self) {
        self.link.session().discard(self.stream);
    }
}
