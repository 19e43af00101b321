//! A device in a few words: `pairs=4,with=RING_PACKED`.

use std::str::FromStr;

use super::{Interface, QUEUE_PAIRS_MAX, VirtioConfig, device_config, features};

/// What is wrong with the words for a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option:?}: {allowed}")]
pub struct OptionsError {
    /// The option at fault.
    pub option: String,
    /// What would be right.
    pub allowed: String,
}

const ALLOWED: &str = "allowed are transitional, shuffled, pairs=N, size=N, mtu=N, with=FEATURE and \
                       without=FEATURE";

fn number(text: &str, least: u16, most: u16) -> Result<u16, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("allowed: {least} to {most}"))
}

fn feature(name: &str) -> Result<u64, String> {
    let known = features::named(&name.to_ascii_uppercase());
    known
        .filter(|feature| features::ALL & feature != 0)
        .ok_or_else(|| format!("allowed: {}", features::names(features::ALL)))
}

impl VirtioConfig {
    fn set(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            None if option == "transitional" => self.interface = Interface::Transitional,
            None if option == "shuffled" => self.shuffled = true,
            Some(("pairs", text)) => self.queue_pairs = number(text, 1, QUEUE_PAIRS_MAX)?,
            Some(("size", text)) => {
                self.queue_size = number(text, 2, 1 << 15)?;
                if !self.queue_size.is_power_of_two() {
                    return Err("allowed: powers of two".into());
                }
            }
            Some(("mtu", text)) => self.mtu = number(text, device_config::MTU_LEAST, u16::MAX)?,
            Some(("with", name)) => self.features |= feature(name)?,
            Some(("without", name)) => self.features &= !feature(name)?,
            _ => return Err(ALLOWED.into()),
        }
        Ok(())
    }
}

impl FromStr for VirtioConfig {
    type Err = OptionsError;

    /// Options with commas between; none for the default device.
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let mut config = Self::default();
        for option in text.split(',').filter(|_| !text.is_empty()) {
            config.set(option).map_err(|allowed| OptionsError {
                option: option.to_owned(),
                allowed,
            })?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_spec::virtio::feature;

    #[test]
    fn options_change_the_default() {
        assert_eq!("".parse::<VirtioConfig>().unwrap().queue_pairs, 1);
        let text = "transitional,pairs=4,size=64,with=ring_packed,without=MRG_RXBUF,mtu=1500";
        let config: VirtioConfig = text.parse().unwrap();
        assert_eq!(config.interface, Interface::Transitional);
        assert_eq!(
            (config.queue_pairs, config.queue_size, config.mtu),
            (4, 64, 1500)
        );
        assert_ne!(config.features & feature::RING_PACKED, 0);
        assert_eq!(config.features & feature::NET_MRG_RXBUF, 0);
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for (text, part) in [
            ("pairs=17", "1 to 16"),
            ("pairs=", "1 to 16"),
            ("size=100", "powers of two"),
            ("with=GUEST_UFO", "CSUM"),
            ("with=", "CSUM"),
            ("pairs=2,,", "allowed are"),
            ("fast", "allowed are"),
        ] {
            let error = text.parse::<VirtioConfig>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
