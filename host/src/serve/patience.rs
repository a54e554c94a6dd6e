//! A stream whose writes fail when the other side takes what is written too slowly.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// For each so many bytes that are taken, a second of patience is gained. So a reader that takes only a byte now
/// and then is not waited for much longer than one that takes nothing.
const BYTES_PER_SECOND: f64 = 8192.0;

/// A stream that waits for its reader only as long as its patience lasts. Patience is lost while a write waits,
/// and gained when bytes are taken.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    most: Duration,
    left: Duration,
    /// Since when a write waits, and until when it may.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, most: patience, left: patience, waiting: None }
    }

    /// The result of a write, or that the patience is over while it waits.
    fn within_patience(
        &mut self,
        written: Poll<Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize>> {
        let Poll::Ready(result) = written else {
            let left = self.left;
            let (_, until) =
                self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
            return until
                .as_mut()
                .poll(context)
                .map(|()| Err(Error::new(ErrorKind::TimedOut, "what was answered is not read")));
        };
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if let Ok(bytes) = &result {
            let gained = Duration::from_secs_f64(*bytes as f64 / BYTES_PER_SECOND);
            self.left = (self.left + gained).min(self.most);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_patience(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.within_patience(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    /// Writes 64 KiB to somebody who reads so many bytes at a time, and so often.
    async fn write_to(reader: impl AsyncFnOnce(DuplexStream)) -> Result<()> {
        let (ours, theirs) = duplex(16);
        let mut stream = Patient::new(ours, PATIENCE);
        let text = vec![b'x'; 64 << 10];
        let reading = async {
            reader(theirs).await;
            std::future::pending().await
        };
        tokio::select! {
            written = stream.write_all(&text) => written,
            () = reading => unreachable!("it is pending"),
            () = sleep(Duration::from_secs(60)) => panic!("it is still waited for"),
        }
    }

    async fn read_slowly(mut stream: DuplexStream, bytes: usize, pause: Duration) {
        let mut buffer = vec![0; bytes];
        while stream.read_exact(&mut buffer).await.is_ok() {
            sleep(pause).await;
        }
    }

    #[tokio::test]
    async fn who_never_reads_is_waited_for_as_long_as_the_patience_lasts() {
        let began = Instant::now();
        let error = write_to(async |stream| {
            let _open = stream;
            std::future::pending().await
        })
        .await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= PATIENCE);
    }

    #[tokio::test]
    async fn who_takes_a_byte_now_and_then_is_not_waited_for_for_ever() {
        let pause = Duration::from_millis(20);
        let error = write_to(async |stream| read_slowly(stream, 1, pause).await).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_reads_on_gets_all_of_it_and_a_pause_between_answers_counts_for_nothing() {
        let (ours, mut theirs) = duplex(16);
        let mut stream = Patient::new(ours, PATIENCE);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.map(|_| all.len())
        });
        let text = vec![b'x'; 64 << 10];
        stream.write_all(&text).await.unwrap();
        sleep(2 * PATIENCE).await;
        stream.write_all(&text).await.unwrap();
        drop(stream);
        assert_eq!(reading.await.unwrap().unwrap(), 2 * text.len());
    }
}
