//! The word on a command line that says what a port is plugged into.

use super::{Rate, RateError, Size, SizeError, Touch};
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

/// What ends the name of a cable's other socket.
const PEER: &str = ".peer";

/// What a port is to be plugged into, as it was asked for.
///
/// | word | far end |
/// |---|---|
/// | `none` | nothing: no link |
/// | `loopback` | the port itself |
/// | `cable:PATH` | whoever has the other end: `PATH.peer`, or `PATH` without `.peer` |
/// | `cable:LOCAL,REMOTE` | the same, with both sockets named, as for QEMU's `-netdev dgram` |
/// | `tap:NAME` | a TAP interface of the kernel |
/// | `pcap:IN[,OUT]` | a capture that is replayed, and one that is recorded |
/// | `generator[:OPTION=VALUE,…]` | a source of numbered frames and a verifier of the same |
///
/// The generator's options are `size` (bytes without FCS, or `imix`), `flows`, `rate` (`5Mpps`,
/// `10G`), `packets` (how many to send), `touch` (`on` if the last byte of the destination comes
/// back incremented, which is the default, or `off`) and `to` (the destination MAC address).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireWord {
    text: String,
    pub(super) far_end: FarEnd,
}

/// The far end that a word names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FarEnd {
    Nothing,
    Loopback,
    Cable {
        local: PathBuf,
        remote: PathBuf,
    },
    Tap {
        name: String,
    },
    Capture {
        replay: PathBuf,
        record: Option<PathBuf>,
    },
    Generator(Traffic),
}

/// What a generator is asked to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) size: Size,
    pub(super) flows: NonZeroU16,
    pub(super) rate: Option<Rate>,
    pub(super) packets: Option<u64>,
    pub(super) touch: Touch,
    pub(super) destination: Option<[u8; 6]>,
}

/// Why a word is none for a wire.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireWordError {
    /// No such far end.
    #[error(
        "no wire is called `{word}`; allowed: none, loopback, cable:PATH, cable:LOCAL,REMOTE, \
         tap:NAME, pcap:IN[,OUT], generator[:OPTION=VALUE,...]"
    )]
    Unknown {
        /// The word given.
        word: String,
    },
    /// A part of the word is missing or too much.
    #[error("`{word}` is incomplete or has too much; allowed: {allowed}")]
    Form {
        /// The word given.
        word: String,
        /// How it is written.
        allowed: &'static str,
    },
    /// Both ends would be the same socket.
    #[error("the two ends of a cable can't both be `{path}`")]
    SameEnds {
        /// The path given twice.
        path: String,
    },
    /// No such option of a generator.
    #[error("a generator has no option `{option}`; allowed: size, flows, rate, packets, touch, to")]
    Option {
        /// The option given.
        option: String,
    },
    /// An option's value can't be.
    #[error("`{value}` is no value for `{option}`; allowed: {allowed}")]
    Value {
        /// The option.
        option: &'static str,
        /// The value given.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// The size of a generator's frames can't be.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The rate of a generator can't be.
    #[error(transparent)]
    Rate(#[from] RateError),
}

impl WireWord {
    /// Whether there is a cable in the port at all.
    pub fn is_plugged(&self) -> bool {
        self.far_end != FarEnd::Nothing
    }

    /// The sockets of a cable: this end's and the other's.
    pub fn sockets(&self) -> Option<[&Path; 2]> {
        match &self.far_end {
            FarEnd::Cable { local, remote } => Some([local, remote]),
            _ => None,
        }
    }
}

impl fmt::Display for WireWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for WireWord {
    type Err = WireWordError;

    fn from_str(word: &str) -> Result<Self, WireWordError> {
        let form = |allowed| WireWordError::Form {
            word: word.to_owned(),
            allowed,
        };
        let (kind, rest) = match word.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (word, None),
        };
        let far_end = match (kind, rest) {
            ("none", None) => FarEnd::Nothing,
            ("loopback", None) => FarEnd::Loopback,
            ("cable", rest) => cable(rest.unwrap_or_default(), form)?,
            ("tap", Some(name)) if !name.is_empty() => FarEnd::Tap {
                name: name.to_owned(),
            },
            ("tap", _) => return Err(form("tap:NAME")),
            ("pcap", rest) => {
                let (replay, record) = pair(rest.unwrap_or_default())
                    .ok_or_else(|| form("pcap:IN, or pcap:IN,OUT"))?;
                FarEnd::Capture {
                    replay: replay.into(),
                    record: record.map(PathBuf::from),
                }
            }
            ("generator", rest) => FarEnd::Generator(traffic(rest)?),
            _ => {
                return Err(WireWordError::Unknown {
                    word: word.to_owned(),
                });
            }
        };
        Ok(Self {
            text: word.to_owned(),
            far_end,
        })
    }
}

/// One part, or two with a comma between.
fn pair(text: &str) -> Option<(&str, Option<&str>)> {
    let (first, second) = match text.split_once(',') {
        Some((first, second)) => (first, Some(second)),
        None => (text, None),
    };
    let fits = |part: &str| !part.is_empty() && !part.contains(',');
    (fits(first) && second.is_none_or(fits)).then_some((first, second))
}

fn cable(
    rest: &str,
    form: impl Fn(&'static str) -> WireWordError,
) -> Result<FarEnd, WireWordError> {
    let form = || form("cable:PATH, or cable:LOCAL,REMOTE");
    let (local, remote) = pair(rest).ok_or_else(form)?;
    let local = PathBuf::from(local);
    let remote = match remote {
        Some(remote) => PathBuf::from(remote),
        None => other_end(&local).ok_or_else(form)?,
    };
    if local == remote {
        return Err(WireWordError::SameEnds {
            path: local.display().to_string(),
        });
    }
    Ok(FarEnd::Cable { local, remote })
}

/// The other end of the cable whose one end is `path`; `None` for a path that names no file.
fn other_end(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let other = match name.strip_suffix(PEER) {
        Some("") => return None,
        Some(stem) => OsString::from(stem),
        None => {
            let mut other = OsString::from(name);
            other.push(PEER);
            other
        }
    };
    Some(path.with_file_name(other))
}

fn traffic(rest: Option<&str>) -> Result<Traffic, WireWordError> {
    let mut traffic = Traffic {
        size: Size::MIN,
        flows: NonZeroU16::MIN,
        rate: None,
        packets: None,
        touch: Touch::Incremented,
        destination: None,
    };
    for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
        let (option, value) = part.split_once('=').unwrap_or((part, ""));
        let refuse = |option, allowed| WireWordError::Value {
            option,
            value: value.to_owned(),
            allowed,
        };
        match option {
            "size" => traffic.size = value.parse()?,
            "rate" => traffic.rate = Some(value.parse()?),
            "flows" => {
                traffic.flows = value.parse().map_err(|_| refuse("flows", "1 to 65535"))?;
            }
            "packets" => {
                let packets = value.parse().ok().filter(|packets| *packets > 0);
                traffic.packets =
                    Some(packets.ok_or_else(|| refuse("packets", "a number from 1 on"))?);
            }
            "touch" => {
                traffic.touch = match value {
                    "on" => Touch::Incremented,
                    "off" => Touch::Unchanged,
                    _ => return Err(refuse("touch", "on, off")),
                };
            }
            "to" => {
                let address = mac_address(value);
                traffic.destination = Some(
                    address
                        .ok_or_else(|| refuse("to", "a MAC address such as 02:42:57:00:00:01"))?,
                );
            }
            _ => {
                return Err(WireWordError::Option {
                    option: option.to_owned(),
                });
            }
        }
    }
    Ok(traffic)
}

/// Six bytes in hexadecimal, two digits each, with colons between.
fn mac_address(text: &str) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut address {
        let part = parts.next()?;
        let hexadecimal = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| hexadecimal)?;
    }
    parts.next().is_none().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn far_end(word: &str) -> FarEnd {
        word.parse::<WireWord>().unwrap().far_end
    }

    fn refusal(word: &str) -> String {
        word.parse::<WireWord>().unwrap_err().to_string()
    }

    #[test]
    fn the_two_ends_of_a_cable_name_each_other() {
        let ends = |local: &str, remote: &str| FarEnd::Cable {
            local: local.into(),
            remote: remote.into(),
        };
        assert_eq!(far_end("cable:/run/c"), ends("/run/c", "/run/c.peer"));
        assert_eq!(far_end("cable:/run/c.peer"), ends("/run/c.peer", "/run/c"));
        assert_eq!(far_end("cable:c"), ends("c", "c.peer"));
        assert_eq!(far_end("cable:a.sock"), ends("a.sock", "a.sock.peer"));
        assert_eq!(far_end("cable:/a,/b.peer"), ends("/a", "/b.peer"));
    }

    #[test]
    fn each_kind_has_its_form() {
        assert_eq!(far_end("none"), FarEnd::Nothing);
        assert_eq!(far_end("loopback"), FarEnd::Loopback);
        assert_eq!(far_end("tap:bw0"), FarEnd::Tap { name: "bw0".into() });
        let capture = |replay: &str, record: Option<&str>| FarEnd::Capture {
            replay: replay.into(),
            record: record.map(PathBuf::from),
        };
        assert_eq!(far_end("pcap:a.pcap"), capture("a.pcap", None));
        assert_eq!(
            far_end("pcap:a:1,b.pcapng"),
            capture("a:1", Some("b.pcapng"))
        );
        let word: WireWord = "none".parse().unwrap();
        assert!(!word.is_plugged());
        let word: WireWord = "cable:/run/c".parse().unwrap();
        assert!(word.is_plugged());
        assert_eq!(word.to_string(), "cable:/run/c");
        let sockets = word.sockets().unwrap().map(Path::to_path_buf);
        assert_eq!(sockets, ["/run/c", "/run/c.peer"].map(PathBuf::from));
    }

    #[test]
    fn a_generator_takes_options_in_any_order() {
        let plain = Traffic {
            size: Size::MIN,
            flows: NonZeroU16::MIN,
            rate: None,
            packets: None,
            touch: Touch::Incremented,
            destination: None,
        };
        assert_eq!(far_end("generator"), FarEnd::Generator(plain));
        let word =
            "generator:touch=off,packets=9,rate=5Mpps,flows=4,size=imix,to=02:00:00:00:00:fE";
        let asked = Traffic {
            size: Size::IMIX,
            flows: NonZeroU16::new(4).unwrap(),
            rate: Some("5Mpps".parse().unwrap()),
            packets: Some(9),
            touch: Touch::Unchanged,
            destination: Some([2, 0, 0, 0, 0, 0xfe]),
        };
        assert_eq!(far_end(word), FarEnd::Generator(asked));
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        for (word, allowed) in [
            ("", "loopback, cable:PATH"),
            ("wire", "pcap:IN[,OUT]"),
            ("none:x", "none, loopback"),
            ("loopback:", "loopback, cable"),
            ("cable", "cable:LOCAL,REMOTE"),
            ("cable:", "cable:PATH"),
            ("cable:a,", "cable:PATH"),
            ("cable:a,b,c", "cable:LOCAL,REMOTE"),
            ("cable:.peer", "cable:PATH"),
            ("cable:/", "cable:PATH"),
            ("cable:a,a", "both be `a`"),
            ("tap", "tap:NAME"),
            ("tap:", "tap:NAME"),
            ("pcap", "pcap:IN"),
            ("pcap:,out", "pcap:IN"),
            ("generator:", "size, flows"),
            ("generator:sise=60", "no option `sise`"),
            ("generator:size=59", "60 to 9724"),
            ("generator:rate=fast", "5Mpps"),
            ("generator:flows=0", "1 to 65535"),
            ("generator:packets=0", "from 1 on"),
            ("generator:touch", "on, off"),
            ("generator:to=02:00", "02:42:57"),
            ("generator:to=+2:00:00:00:00:01", "02:42:57"),
        ] {
            let refusal = refusal(word);
            assert!(refusal.contains(allowed), "{word}: {refusal}");
            assert_eq!(refusal.lines().count(), 1, "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_word_panics_and_what_is_taken_is_kept(word in ".{0,40}|(cable|pcap|tap|generator):[a-z=,:./0-9]{0,20}") {
            if let Ok(parsed) = word.parse::<WireWord>() {
                prop_assert_eq!(parsed.to_string(), word);
            }
        }

        /// Both ends of a cable agree on its two sockets.
        #[test]
        fn the_other_end_of_the_other_end_is_this_end(name in "[a-z.]{1,12}") {
            if let Ok(WireWord { far_end: FarEnd::Cable { local, remote }, .. }) =
                format!("cable:/run/{name}").parse()
            {
                let other = far_end(&format!("cable:{}", remote.display()));
                prop_assert_eq!(other, FarEnd::Cable { local: remote, remote: local });
            }
        }
    }
}
