//! What each message of a client does.

use std::os::fd::{AsFd, OwnedFd};

use barewire_bus::vfio_user::{
    Capabilities, Command, DEVICE_FLAG_PCI, DEVICE_FLAG_RESET, DecodeError, DeviceInfo, Header,
    IrqInfo, MAJOR, MAX_DATA, MINOR, MapRequest, Message, OFFERED_FDS, RegionAccess, RegionInfo,
    RegionWrite, RegionWrites, SetIrqs, UnmapRequest, Version, pci,
};
use rustix::io::Errno;

use super::Doorbells;
use super::pages::Look;
use super::regions;
use super::session::{Gone, Session};
use crate::memory::MAX_MAPPINGS;
use crate::wire::widen;

/// What a request is answered with.
#[derive(Default)]
struct Answer {
    payload: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl From<Vec<u8>> for Answer {
    fn from(payload: Vec<u8>) -> Self {
        Self { payload, fd: None }
    }
}

/// A request that is not carried out.
struct Refusal(Errno);

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        tracing::debug!(%error, "a request makes no sense");
        Self(Errno::INVAL)
    }
}

impl Session {
    /// Carries out a request and answers it.
    pub(super) fn handle(&mut self, message: Message) -> Result<(), Gone> {
        let header = message.header;
        if !self.agreed {
            return self.agree(&message);
        }
        if let Some(pages) = &mut self.pages {
            // A write that nobody waits for may have been sent before what the pages hold now, so
            // nothing starts before it that was meant to start after it.
            let look = if header.wants_reply() {
                Look::Everything
            } else {
                Look::Stopping
            };
            pages.look(look);
        }
        let answer = self.carry_out(message);
        self.answer(&header, answer)
    }

    fn answer(&mut self, header: &Header, answer: Result<Answer, Refusal>) -> Result<(), Gone> {
        let mut connection = self.connection.lock();
        match answer {
            Ok(Answer { payload, fd }) => {
                let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
                connection.reply(header, &[&payload], &fds, self.patience)?;
            }
            Err(Refusal(errno)) => {
                tracing::debug!(command = header.number, %errno, "a request is refused");
                connection.refuse(header, errno, self.patience)?;
            }
        }
        Ok(())
    }

    /// The first message: agrees on a version.
    fn agree(&mut self, message: &Message) -> Result<(), Gone> {
        let header = message.header;
        if header.command() != Some(Command::Version) {
            return self.answer(&header, Err(Refusal(Errno::PROTO)));
        }
        let theirs = match Version::decode(&message.payload) {
            Ok(version) => version,
            Err(error) => return self.answer(&header, Err(error.into())),
        };
        if theirs.major != MAJOR {
            self.answer(&header, Err(Refusal(Errno::NOTSUP)))?;
            return Err(Gone::Version(theirs.major, theirs.minor));
        }
        self.most_data = theirs.capabilities.data_bytes();
        self.peer.set_most(self.most_data);
        self.write_multiple = theirs.capabilities.write_multiple == Some(true);
        if self.write_multiple && self.doorbells == Doorbells::Auto {
            self.pages = None;
        }
        let ours = Version {
            major: MAJOR,
            minor: theirs.minor.min(MINOR),
            capabilities: Capabilities {
                max_msg_fds: Some(OFFERED_FDS),
                max_data_xfer_size: Some(widen(MAX_DATA)),
                max_dma_maps: Some(widen(MAX_MAPPINGS)),
                pgsizes: Some(4096),
                write_multiple: self.write_multiple.then_some(true),
                twin_socket: None,
            },
        };
        self.agreed = true;
        self.answer(&header, Ok(ours.encode().into()))
    }

    fn carry_out(&mut self, message: Message) -> Result<Answer, Refusal> {
        let Message {
            header,
            payload,
            mut fds,
            surplus_fds,
        } = message;
        if surplus_fds {
            return Err(Errno::INVAL.into());
        }
        let command = header.command().ok_or(Errno::NOSYS)?;
        let most_fds = match command {
            Command::DmaMap => 1,
            Command::DeviceSetIrqs => usize::MAX,
            _ => 0,
        };
        if fds.len() > most_fds {
            return Err(Errno::INVAL.into());
        }
        match command {
            Command::DmaMap => {
                let request = MapRequest::decode(&payload)?;
                self.memory.map(&request, fds.pop())?;
                Ok(Answer::default())
            }
            Command::DmaUnmap => self.unmap(&payload),
            Command::DeviceGetInfo => {
                DeviceInfo::decode(&payload)?;
                let info = DeviceInfo {
                    argsz: DeviceInfo::BYTES,
                    flags: DEVICE_FLAG_PCI | DEVICE_FLAG_RESET,
                    regions: pci::REGIONS,
                    irqs: pci::IRQS,
                };
                Ok(info.encode().into())
            }
            Command::DeviceGetRegionInfo => self.region_info(&payload),
            Command::DeviceGetIrqInfo => {
                let asked = IrqInfo::decode(&payload)?;
                let info = self.interrupts.info(asked.index).ok_or(Errno::INVAL)?;
                Ok(info.encode().into())
            }
            Command::DeviceSetIrqs => {
                let set = SetIrqs::decode(&payload)?;
                self.interrupts.set(&set, fds)?;
                Ok(Answer::default())
            }
            Command::RegionRead => self.region_read(&payload),
            Command::RegionWrite => {
                let RegionWrite { access, data } = RegionWrite::decode(&payload)?;
                self.region_write(access, data)?;
                Ok(access.encode().to_vec().into())
            }
            Command::RegionWriteMulti if self.write_multiple => {
                let writes = RegionWrites::decode(&payload)?;
                for (access, data) in &writes.writes {
                    let data = data.get(..access.count as usize).unwrap_or_default();
                    self.region_write(*access, data)?;
                }
                let count = widen(writes.writes.len());
                Ok(count.to_ne_bytes().to_vec().into())
            }
            Command::DeviceReset => {
                self.device.power_cycle();
                self.device_changed();
                if let Some(pages) = &mut self.pages {
                    pages.clear_counters();
                }
                Ok(Answer::default())
            }
            _ => Err(Errno::NOSYS.into()),
        }
    }

    fn unmap(&mut self, payload: &[u8]) -> Result<Answer, Refusal> {
        let request = UnmapRequest::decode(payload)?;
        match request.flags {
            0 if request.size == 0 => return Err(Errno::INVAL.into()),
            0 => self.memory.unmap(request.address, request.size),
            UnmapRequest::ALL if request.address == 0 && request.size == 0 => {
                self.memory.unmap_all();
            }
            _ => return Err(Errno::INVAL.into()),
        }
        Ok(request.encode().into())
    }

    fn region_info(&mut self, payload: &[u8]) -> Result<Answer, Refusal> {
        let asked = RegionInfo::decode(payload)?;
        let mut info = regions::info(&*self.device, asked.index).ok_or(Errno::INVAL)?;
        let mut fd = None;
        if asked.index == pci::REGION_BAR0
            && let Some(pages) = &mut self.pages
        {
            fd = Some(pages.describe(&mut info)?);
        }
        info.argsz = info.full_bytes();
        let room = asked.argsz;
        Ok(Answer {
            payload: info.encode(room),
            // Without the areas it would be no use, and the client asks again.
            fd: fd.filter(|_| room >= info.argsz),
        })
    }

    fn region_read(&mut self, payload: &[u8]) -> Result<Answer, Refusal> {
        let access = RegionAccess::decode(payload)?;
        let count = access.count as usize;
        regions::check(&*self.device, &access, count)?;
        if count > self.most_data {
            return Err(Errno::INVAL.into());
        }
        let mut reply = access.encode().to_vec();
        reply.resize(RegionAccess::BYTES + count, 0);
        if let Some(data) = reply.get_mut(RegionAccess::BYTES..) {
            self.read_region(&access, data);
        }
        Ok(reply.into())
    }

    fn region_write(&mut self, access: RegionAccess, data: &[u8]) -> Result<(), Refusal> {
        regions::check(&*self.device, &access, data.len())?;
        self.write_region(&access, data);
        Ok(())
    }
}
