//! Messages over a Unix stream socket, each with its file descriptors.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{Command, ConnectionError, HEADER_BYTES, Header, Kind, MAX_FDS, MAX_MESSAGE};

/// Bytes that a read makes room for at once, so that a message costs as much memory as arrived.
const STRIDE: usize = 64 * 1024;
/// Messages, and their bytes, that are kept while something else is waited for.
const INBOX: usize = 1024;
const INBOX_BYTES: usize = 4 << 20;

/// A message that arrived.
#[derive(Debug)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
    /// The file descriptors that came with it, at most [`MAX_FDS`].
    pub fds: Vec<OwnedFd>,
    /// More came than are taken. Those are closed already.
    pub surplus_fds: bool,
}

/// A message of which a part has arrived.
#[derive(Debug)]
struct Partial {
    header: [u8; HEADER_BYTES],
    /// Bytes of header and payload that are there.
    have: usize,
    decoded: Option<Header>,
    payload: Vec<u8>,
    fds: Vec<OwnedFd>,
    surplus: bool,
    since: Option<Instant>,
}

impl Partial {
    fn new() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            have: 0,
            decoded: None,
            payload: Vec::new(),
            fds: Vec::new(),
            surplus: false,
            since: None,
        }
    }
}

/// One end of a connection.
///
/// A file descriptor travels beside the byte it was sent with. What is read at once here is never
/// more than the rest of one message, so whatever descriptors come with it are that message's, also
/// where the peer has sent many messages before the first was read.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    partial: Partial,
    inbox: VecDeque<Message>,
    inbox_bytes: usize,
    next_id: u16,
}

impl AsFd for Connection {
    /// The socket, to be polled for messages.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Connection {
    /// A connection over a connected stream socket, which becomes non-blocking.
    ///
    /// # Errors
    /// [`ConnectionError::Socket`] where it can't.
    pub fn new(stream: UnixStream) -> Result<Self, ConnectionError> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            partial: Partial::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            next_id: 0,
        })
    }

    /// Since when a message is incomplete, if one is.
    pub fn incomplete_since(&self) -> Option<Instant> {
        self.partial.since
    }

    /// Whether a message is kept here already. Polling the socket does not tell.
    pub fn has_kept(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// [`ConnectionError`]; the connection can't be used any more then.
    pub fn try_receive(&mut self) -> Result<Option<Message>, ConnectionError> {
        if let Some(message) = self.inbox.pop_front() {
            self.inbox_bytes -= message.payload.len();
            return Ok(Some(message));
        }
        self.read()
    }

    /// The next message. Waits for it up to `limit`.
    ///
    /// # Errors
    /// [`ConnectionError::Timeout`] if it does not come; what has come of it stays. With other
    /// errors the connection can't be used any more.
    pub fn receive(&mut self, limit: Duration) -> Result<Message, ConnectionError> {
        let deadline = Deadline::new("send a message", limit);
        loop {
            if let Some(message) = self.try_receive()? {
                return Ok(message);
            }
            self.wait(PollFlags::IN, &deadline)?;
        }
    }

    /// Sends a request and returns the number that its reply will have.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn request(
        &mut self,
        command: Command,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<u16, ConnectionError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let kind = Kind::Request { posted: false };
        self.send(id, command.number(), kind, payload, fds, limit)?;
        Ok(id)
    }

    /// Sends a request that wants no reply.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn post(
        &mut self,
        command: Command,
        payload: &[&[u8]],
        limit: Duration,
    ) -> Result<(), ConnectionError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let kind = Kind::Request { posted: true };
        self.send(id, command.number(), kind, payload, &[], limit)
    }

    /// Sends a request and waits for its reply. Requests of the peer that arrive meanwhile are kept
    /// for [`try_receive`](Self::try_receive); other replies are thrown away, since whoever waited
    /// for them has given up.
    ///
    /// # Errors
    /// [`ConnectionError::Timeout`] after `limit`, [`ConnectionError::Flooded`] when the peer sends
    /// too much meanwhile, or as [`send`](Self::send). A reply that reports an error is no error
    /// here.
    pub fn call(
        &mut self,
        command: Command,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Message, ConnectionError> {
        let deadline = Deadline::new("answer a request", limit);
        let id = self.request(command, payload, fds, limit)?;
        loop {
            let Some(message) = self.read()? else {
                self.wait(PollFlags::IN, &deadline)?;
                continue;
            };
            match message.header.kind {
                Kind::Request { .. } => self.keep(message)?,
                Kind::Reply { .. } if message.header.id == id => return Ok(message),
                Kind::Reply { .. } => {}
            }
        }
    }

    /// Answers a request, unless it wants no answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reply(
        &mut self,
        request: &Header,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<(), ConnectionError> {
        if !request.wants_reply() {
            return Ok(());
        }
        let kind = Kind::Reply { error: None };
        self.send(request.id, request.number, kind, payload, fds, limit)
    }

    /// Answers a request with an error, unless it wants no answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn refuse(
        &mut self,
        request: &Header,
        errno: Errno,
        limit: Duration,
    ) -> Result<(), ConnectionError> {
        if !request.wants_reply() {
            return Ok(());
        }
        let error = u32::try_from(errno.raw_os_error()).unwrap_or(0);
        let kind = Kind::Reply { error: Some(error) };
        self.send(request.id, request.number, kind, &[], &[], limit)
    }

    /// Sends a message. While the peer takes none, what it sends is kept, so that two peers that
    /// send at the same time do not wait for each other.
    ///
    /// # Errors
    /// [`ConnectionError::TooLarge`] for a message above the limits, of which nothing is sent;
    /// [`ConnectionError::Timeout`] when the peer takes nothing for `limit`. With all others too
    /// the connection can't be used any more.
    pub fn send(
        &mut self,
        id: u16,
        number: u16,
        kind: Kind,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<(), ConnectionError> {
        let size = payload
            .iter()
            .fold(HEADER_BYTES, |sum, part| sum.saturating_add(part.len()));
        if size > MAX_MESSAGE || fds.len() > MAX_FDS {
            let fds = fds.len();
            return Err(ConnectionError::TooLarge { bytes: size, fds });
        }
        let header = Header {
            id,
            number,
            size,
            kind,
        };
        let header = header.encode();
        let mut parts = vec![IoSlice::new(&header)];
        parts.extend(payload.iter().map(|part| IoSlice::new(part)));
        let mut parts = &mut parts[..];
        let mut fds = fds;
        let deadline = Deadline::new("take a message", limit);
        while !parts.is_empty() {
            match self.write(parts, fds) {
                Ok(sent) => {
                    IoSlice::advance_slices(&mut parts, sent);
                    fds = &[];
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_for_room(&deadline)?,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ConnectionError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn write(&self, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOBIG);
        }
        sendmsg(&self.stream, parts, &mut control, SendFlags::NOSIGNAL)
    }

    /// Waits until the socket takes more, and keeps what arrives meanwhile.
    fn wait_for_room(&mut self, deadline: &Deadline) -> Result<(), ConnectionError> {
        // One that sends without end and takes nothing is left to its own full socket.
        let full = self.inbox.len() >= INBOX || self.inbox_bytes >= INBOX_BYTES;
        let events = if full {
            PollFlags::OUT
        } else {
            PollFlags::OUT | PollFlags::IN
        };
        let ready = self.wait(events, deadline)?;
        if ready.contains(PollFlags::IN)
            && let Some(message) = self.read()?
        {
            self.keep(message)?;
        }
        Ok(())
    }

    fn keep(&mut self, message: Message) -> Result<(), ConnectionError> {
        if self.inbox.len() >= INBOX || self.inbox_bytes >= INBOX_BYTES {
            let messages = self.inbox.len();
            return Err(ConnectionError::Flooded { messages });
        }
        self.inbox_bytes += message.payload.len();
        self.inbox.push_back(message);
        Ok(())
    }

    fn wait(&self, events: PollFlags, deadline: &Deadline) -> Result<PollFlags, ConnectionError> {
        let left = deadline.left()?;
        let mut fds = [PollFd::new(&self.stream, events)];
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads until a message is complete or nothing more is there.
    fn read(&mut self) -> Result<Option<Message>, ConnectionError> {
        loop {
            if let Some(header) = self.partial.decoded
                && self.partial.have == header.size
            {
                let partial = std::mem::replace(&mut self.partial, Partial::new());
                return Ok(Some(Message {
                    header,
                    payload: partial.payload,
                    fds: partial.fds,
                    surplus_fds: partial.surplus,
                }));
            }
            match self.read_some() {
                Ok(0) if self.partial.have == 0 => return Err(ConnectionError::Closed),
                Ok(0) => return Err(ConnectionError::Cut),
                Ok(count) => self.took(count)?,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(ConnectionError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn took(&mut self, count: usize) -> Result<(), ConnectionError> {
        let partial = &mut self.partial;
        partial.since.get_or_insert_with(Instant::now);
        partial.have += count;
        if partial.have == HEADER_BYTES {
            partial.decoded = Some(Header::decode(&partial.header)?);
        }
        Ok(())
    }

    /// One read, of no more than belongs to the message. The payload's length is made to agree with
    /// what was read.
    fn read_some(&mut self) -> rustix::io::Result<usize> {
        let partial = &mut self.partial;
        let start = partial.have.saturating_sub(HEADER_BYTES);
        let into = match partial.decoded {
            None => partial.header.get_mut(partial.have..).unwrap_or_default(),
            Some(header) => {
                let left = header.size - partial.have;
                partial.payload.resize(start + left.min(STRIDE), 0);
                &mut partial.payload[start..]
            }
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(into)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for fd in fds {
                    if partial.fds.len() < MAX_FDS {
                        partial.fds.push(fd);
                    } else {
                        partial.surplus = true;
                    }
                }
            }
        }
        let count = received.as_ref().map_or(0, |received| received.bytes);
        if partial.decoded.is_some() {
            partial.payload.truncate(start + count);
        }
        let received = received?;
        partial.surplus |= received.flags.contains(ReturnFlags::CTRUNC);
        Ok(received.bytes)
    }
}

/// Until when something is waited for.
struct Deadline {
    what: &'static str,
    limit: Duration,
    end: Option<Instant>,
}

impl Deadline {
    fn new(what: &'static str, limit: Duration) -> Self {
        Self {
            what,
            limit,
            end: Instant::now().checked_add(limit),
        }
    }

    /// What is left of it, at most an hour at once.
    fn left(&self) -> Result<Timespec, ConnectionError> {
        const HOUR: Duration = Duration::from_hours(1);
        let left = self
            .end
            .map_or(HOUR, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            let (what, limit) = (self.what, self.limit);
            return Err(ConnectionError::Timeout { what, limit });
        }
        let left = left.min(HOUR);
        Ok(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        })
    }
}

#[cfg(test)]
mod tests;
