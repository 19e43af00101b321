//! The first message each way: who speaks what.

use serde::{Deserialize, Serialize};

use super::fields::{Builder, Fields, at_most};
use super::{DecodeError, MAX_DATA, MAX_FDS};

/// The most bytes of version data that are looked at. Real ones have about 200.
const MAX_JSON: usize = 16 * 1024;

/// A version of the protocol and what its speaker can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Both sides must have the same.
    pub major: u16,
    /// A server answers with the client's or a smaller one.
    pub minor: u16,
    /// What the speaker can do.
    pub capabilities: Capabilities,
}

/// What a speaker can do. A capability that it does not name has the value that the specification
/// says; the methods give that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// File descriptors that it takes in one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u64>,
    /// Bytes of data that it takes in one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u64>,
    /// Mappings that can be there at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u64>,
    /// Page sizes that can be mapped, one bit each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// It knows `VFIO_USER_REGION_WRITE_MULTI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
    /// The server's requests go over a socket of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin_socket: Option<TwinSocket>,
}

/// A second socket, for the server's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinSocket {
    /// It is wanted or there.
    #[serde(default)]
    pub supported: bool,
    /// Which of the message's file descriptors it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd_index: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
struct Data {
    #[serde(default)]
    capabilities: Capabilities,
}

impl Capabilities {
    /// File descriptors that the speaker takes in one message: what it says, 1 where it does not,
    /// and never more than [`MAX_FDS`].
    pub fn message_fds(&self) -> usize {
        limited(self.max_msg_fds, 1, MAX_FDS)
    }

    /// Bytes of data that the speaker takes in one message: what it says, [`MAX_DATA`] where it
    /// does not or says more.
    pub fn data_bytes(&self) -> usize {
        limited(self.max_data_xfer_size, MAX_DATA, MAX_DATA)
    }
}

fn limited(said: Option<u64>, otherwise: usize, most: usize) -> usize {
    said.map_or(otherwise, |value| usize::try_from(value).unwrap_or(most))
        .min(most)
}

impl Version {
    /// The payload of a version message.
    pub fn encode(&self) -> Vec<u8> {
        let data = Data {
            capabilities: self.capabilities.clone(),
        };
        // A structure of numbers and booleans has no way to fail; an empty object says as little.
        let json = serde_json::to_vec(&data).unwrap_or_else(|_| b"{}".to_vec());
        Builder::new()
            .u16(self.major)
            .u16(self.minor)
            .bytes(&json)
            .bytes(&[0])
            .done()
    }

    /// Reads the payload of a version message. Capabilities that are not known are passed over, and
    /// the data may be left out altogether or lack the NUL at its end.
    ///
    /// # Errors
    /// [`DecodeError`] where the version is missing, or the data too long or not the JSON it has
    /// to be.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("a version", payload);
        let major = fields.u16()?;
        let minor = fields.u16()?;
        let rest = fields.rest();
        let json = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        let length = u64::try_from(json.len()).unwrap_or(u64::MAX);
        at_most("the length of the version data", length, MAX_JSON)?;
        let data: Data = if json.is_empty() {
            Data::default()
        } else {
            serde_json::from_slice(json).map_err(|error| DecodeError::Json {
                reason: error.to_string(),
            })?
        };
        Ok(Self {
            major,
            minor,
            capabilities: data.capabilities,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(json: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0];
        bytes.extend_from_slice(json);
        bytes
    }

    proptest! {
        #[test]
        fn round_trip(
            major: u16,
            minor: u16,
            numbers: [Option<u64>; 4],
            write_multiple: Option<bool>,
            twin: Option<(bool, Option<u64>)>,
        ) {
            let [max_msg_fds, max_data_xfer_size, max_dma_maps, pgsizes] = numbers;
            let twin_socket = twin.map(|(supported, fd_index)| TwinSocket { supported, fd_index });
            let capabilities = Capabilities {
                max_msg_fds, max_data_xfer_size, max_dma_maps, pgsizes, write_multiple, twin_socket,
            };
            let version = Version { major, minor, capabilities };
            prop_assert_eq!(Version::decode(&version.encode()), Ok(version));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(version) = Version::decode(&bytes) {
                prop_assert!(version.capabilities.message_fds() <= MAX_FDS);
                prop_assert!(version.capabilities.data_bytes() <= MAX_DATA);
            }
        }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        for data in [&b""[..], b"\0", b"{}\0", b"{}", br#"{"capabilities":{}}"#] {
            let version = Version::decode(&bytes(data)).unwrap();
            assert_eq!(version.capabilities.message_fds(), 1);
            assert_eq!(version.capabilities.data_bytes(), 1 << 20);
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let data =
            br#"{"capabilities":{"max_msg_fds":8,"migration":{"pgsize":4096},"x":[1]},"y":2}"#;
        let version = Version::decode(&bytes(data)).unwrap();
        assert_eq!(version.capabilities.message_fds(), 8);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = vec![b'['; 20_000];
        for data in [&b"{"[..], br#"{"capabilities":3}"#, b"\xFF\xFE", &deep] {
            assert!(Version::decode(&bytes(data)).is_err());
        }
        assert!(Version::decode(&[0, 0, 1]).is_err());
    }
}
