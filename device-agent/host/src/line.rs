//! A TCP connection of a simulated device, as good or bad as its link.
//!
//! A read may be given up at any time, as timeouts do: no byte is lost by that.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::trouble::Trouble;

/// Most bytes that come over a slow link at once: a few packets.
const PIECE_BYTES_MAX: usize = 2048;

/// How a link is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    /// How many connections of a thousand are never made.
    pub(crate) refused_permille: u32,
    /// How many reads of a thousand find the connection broken.
    broken_permille: u32,
    /// How late comes what follows a silence.
    delay: Duration,
    /// How much comes in a second, where that is limited.
    bytes_per_s: Option<u32>,
}

impl Link {
    /// Nothing is wrong with it.
    pub(crate) const GOOD: Self =
        Self { refused_permille: 0, broken_permille: 0, delay: Duration::ZERO, bytes_per_s: None };
    /// A satellite, or a cell at the edge of the network.
    pub(crate) const LATE: Self = Self { delay: Duration::from_millis(500), ..Self::GOOD };
    /// Connections are lost.
    pub(crate) const LOSSY: Self =
        Self { refused_permille: 200, broken_permille: 10, ..Self::GOOD };
    /// An old modem.
    pub(crate) const SLOW: Self = Self { bytes_per_s: Some(16 * 1024), ..Self::GOOD };

    /// Returns how long so many bytes take.
    fn transfer(&self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * bytes / rate.max(1))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    trouble: Trouble,
    /// What is still to wait before anything else comes.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Line {
    /// Makes a line of a connection.
    pub(crate) const fn new(stream: TcpStream, trouble: Trouble) -> Self {
        Self { stream, trouble, pause: None }
    }

    fn pause_for(&mut self, time: Duration) {
        if time > Duration::ZERO {
            self.trouble.happened();
            self.pause = Some(Box::pin(sleep(time)));
        }
    }
}

impl ErrorType for Line {
    type Error = io::Error;
}

impl Read for Line {
    async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let link = self.trouble.link();
        if self.trouble.strikes(link.broken_permille) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = if link.bytes_per_s.is_some() { PIECE_BYTES_MAX } else { usize::MAX };
        let length = bytes.len().min(most);
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        loop {
            if let Some(pause) = &mut self.pause {
                pause.await;
                self.pause = None;
            }
            match self.stream.try_read(bytes) {
                Ok(count) => {
                    self.pause_for(link.transfer(count));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.readable().await?;
                    self.pause_for(link.delay);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Line {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use waxwing_agent::network::Clock as _;

    use super::*;
    use crate::profile::Profile;
    use crate::time::Uptime;

    /// A line with this trouble on which so many bytes have been sent.
    async fn line(profile: Profile, bytes: usize) -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut theirs = theirs.unwrap().0;
        theirs.write_all(&vec![7; bytes]).await.unwrap();
        (Line::new(ours.unwrap(), Trouble::new(profile, 1)), theirs)
    }

    async fn read(line: &mut Line, bytes: usize) -> Result<usize, io::Error> {
        let (mut buffer, mut count) = (vec![0; bytes], 0);
        while count < bytes {
            count += line.read(&mut buffer[count..]).await?;
        }
        assert!(buffer.iter().all(|byte| *byte == 7));
        Ok(count)
    }

    #[tokio::test]
    async fn after_a_silence_bytes_come_late_and_then_at_once() {
        let (mut line, mut theirs) = line(Profile::Latency, 0).await;
        let clock = Uptime::start();
        let (sent, count) = tokio::join!(theirs.write_all(&[7; 3000]), read(&mut line, 1000));
        assert_eq!((sent.is_ok(), count.unwrap()), (true, 1000));
        assert!(clock.now() >= Link::LATE.delay);
        assert_eq!(read(&mut line, 2000).await.unwrap(), 2000);
        assert!(clock.now() < 2 * Link::LATE.delay, "what follows was on its way already");
        assert_eq!(line.trouble.times(), 1);
    }

    #[tokio::test]
    async fn a_reader_who_gives_up_and_comes_back_loses_nothing() {
        let (mut line, mut theirs) = line(Profile::Latency, 0).await;
        theirs.write_all(&[7; 100]).await.unwrap();
        let clock = Uptime::start();
        let mut given_up = 0;
        let count = loop {
            match timeout(Duration::from_millis(50), read(&mut line, 100)).await {
                Ok(count) => break count,
                Err(_) => given_up += 1,
            }
        };
        assert!(count.unwrap() == 100 && given_up > 0);
        assert!(clock.now() >= Link::LATE.delay, "late all the same");
    }

    #[tokio::test]
    async fn a_slow_line_lets_as_many_bytes_through_as_it_can() {
        let (mut line, _theirs) = line(Profile::Slow, 8192 + 1).await;
        let clock = Uptime::start();
        read(&mut line, 8192 + 1).await.unwrap();
        assert!(clock.now() >= Duration::from_millis(500), "{:?}", clock.now());
        assert_eq!(line.trouble.times(), 5);
    }

    #[tokio::test]
    async fn a_lossy_line_breaks_sooner_or_later() {
        let (mut line, _theirs) = line(Profile::Loss, 2000).await;
        let mut broken = 0;
        for _ in 0..2000 {
            broken += u64::from(read(&mut line, 1).await.is_err());
        }
        assert!((5..60).contains(&broken), "{broken} of 2000");
        assert_eq!(line.trouble.times(), broken);
    }

    #[tokio::test]
    async fn a_good_line_has_no_trouble() {
        let (mut line, _theirs) = line(Profile::Clean, 9000).await;
        assert_eq!(read(&mut line, 9000).await.unwrap(), 9000);
        assert_eq!(line.trouble.times(), 0);
    }
}
