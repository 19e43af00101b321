//! What a device that lies does next.

/// Arbitrary bytes, which a test uses up; behind the last one all are 255.
#[derive(Default)]
pub(crate) struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Script {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// As many as are asked for.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| {
            let byte = self.bytes.get(self.at).copied().unwrap_or(u8::MAX);
            self.at += 1;
            byte
        })
    }

    pub(crate) fn over(&self) -> bool {
        self.at >= self.bytes.len()
    }
}
