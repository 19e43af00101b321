//! Setting up interrupts.

use super::DecodeError;
use super::fields::{Builder, Fields, at_most};

const DATA_NONE: u32 = 1;
const DATA_BOOL: u32 = 1 << 1;
const DATA_EVENTFD: u32 = 1 << 2;
const ACTION_MASK: u32 = 1 << 3;
const ACTION_UNMASK: u32 = 1 << 4;
const ACTION_TRIGGER: u32 = 1 << 5;

/// The most interrupts of one type: what MSI-X can have.
const MAX_COUNT: usize = 2048;

/// What happens to the interrupts of a [`SetIrqs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqAction {
    /// They are masked.
    Mask,
    /// They are unmasked.
    Unmask,
    /// They fire, or get the eventfd that tells of their firing.
    Trigger,
}

/// To which of the interrupts it happens, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IrqData {
    /// To all of the range at once. For [`IrqAction::Trigger`] with a count of 0: all interrupts of
    /// the type are taken down.
    None,
    /// To those for which there is a `true`.
    Bool(Vec<bool>),
    /// The action is bound to the eventfds of the message, one an interrupt. Without any, what was
    /// bound is let go.
    EventFd,
}

/// `VFIO_USER_DEVICE_SET_IRQS`: what becomes of interrupts `start` to `start + count - 1` of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetIrqs {
    /// Which type of interrupt.
    pub index: u32,
    /// The first interrupt of it.
    pub start: u32,
    /// How many, at most 2048.
    pub count: u32,
    /// What happens.
    pub action: IrqAction,
    /// To which, with what.
    pub data: IrqData,
}

impl SetIrqs {
    /// Bytes of the payload before the booleans.
    pub const BYTES: u32 = 20;

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let action = match self.action {
            IrqAction::Mask => ACTION_MASK,
            IrqAction::Unmask => ACTION_UNMASK,
            IrqAction::Trigger => ACTION_TRIGGER,
        };
        let (data, values) = match &self.data {
            IrqData::None => (DATA_NONE, &[][..]),
            IrqData::Bool(values) => (DATA_BOOL, &values[..]),
            IrqData::EventFd => (DATA_EVENTFD, &[][..]),
        };
        let bytes: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Builder::new()
            .u32(Self::BYTES.saturating_add(length))
            .u32(action | data)
            .u32(self.index)
            .u32(self.start)
            .u32(self.count)
            .bytes(&bytes)
            .done()
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`DecodeError`] for flags that ask for not exactly one action with one kind of data, for
    /// more interrupts than there can be, and for booleans that are missing.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("the setting of interrupts", payload);
        fields.u32()?;
        let flags = fields.u32()?;
        let index = fields.u32()?;
        let start = fields.u32()?;
        let count = fields.u32()?;
        let most = at_most("the number of interrupts", count.into(), MAX_COUNT)?;
        at_most("the first interrupt", start.into(), MAX_COUNT)?;
        let meaningless = DecodeError::Meaningless {
            what: "the flags of SET_IRQS",
            value: flags.into(),
        };
        let action = match flags & (ACTION_MASK | ACTION_UNMASK | ACTION_TRIGGER) {
            ACTION_MASK => IrqAction::Mask,
            ACTION_UNMASK => IrqAction::Unmask,
            ACTION_TRIGGER => IrqAction::Trigger,
            _ => return Err(meaningless),
        };
        let data = match flags & (DATA_NONE | DATA_BOOL | DATA_EVENTFD) {
            DATA_NONE => IrqData::None,
            DATA_BOOL => {
                let values = fields.bytes(most)?;
                IrqData::Bool(values.iter().map(|value| *value != 0).collect())
            }
            DATA_EVENTFD => IrqData::EventFd,
            _ => return Err(meaningless),
        };
        Ok(Self {
            index,
            start,
            count,
            action,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(index: u32, start in 0u32..2048, count in 0u32..200, action in 0usize..3, data in 0usize..3, values: Vec<bool>) {
            let count = if data == 1 { values.len() as u32 } else { count };
            let set = SetIrqs {
                index,
                start,
                count,
                action: [IrqAction::Mask, IrqAction::Unmask, IrqAction::Trigger][action],
                data: [IrqData::None, IrqData::Bool(values), IrqData::EventFd][data].clone(),
            };
            prop_assert_eq!(SetIrqs::decode(&set.encode()), Ok(set));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = SetIrqs {
            index: 2,
            start: 0,
            count: 4,
            action: IrqAction::Trigger,
            data: IrqData::Bool(vec![true; 4]),
        };
        let bytes = good.encode();
        assert!(SetIrqs::decode(&bytes[..bytes.len() - 1]).is_err());
        let with = |at: usize, value: u32| {
            let mut bytes = good.encode();
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            SetIrqs::decode(&bytes)
        };
        for flags in [
            0,
            ACTION_TRIGGER,
            DATA_NONE,
            0x3F,
            ACTION_TRIGGER | DATA_BOOL | DATA_NONE,
        ] {
            assert!(with(4, flags).is_err(), "{flags:#x}");
        }
        assert!(with(16, u32::MAX).is_err());
        assert!(with(12, u32::MAX).is_err());
    }
}
