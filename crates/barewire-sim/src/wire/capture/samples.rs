//! Small captures for the tests, written byte by byte so that they do not depend on the crate that
//! reads them.

/// The byte order of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    pub(super) fn half(self, value: u16) -> [u8; 2] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    pub(super) fn word(self, value: u32) -> [u8; 4] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// A frame of `length` bytes, each `byte`.
pub(super) fn frame(byte: u8, length: usize) -> Vec<u8> {
    vec![byte; length]
}

pub(super) const MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(super) const NANOSECONDS: u32 = 0xa1b2_3c4d;

pub(super) fn pcap_header(order: Order, magic: u32, link: u32) -> Vec<u8> {
    let mut file = order.word(magic).to_vec();
    file.extend(order.half(2));
    file.extend(order.half(4));
    file.extend([0; 8]);
    file.extend(order.word(100));
    file.extend(order.word(link));
    file
}

pub(super) fn pcap_record(order: Order, data: &[u8], original: u32) -> Vec<u8> {
    let mut record = order.word(1).to_vec();
    record.extend(order.word(2));
    record.extend(order.word(len(data)));
    record.extend(order.word(original));
    record.extend(data);
    record
}

/// A pcap file of Ethernet frames.
pub(super) fn pcap(order: Order, magic: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = pcap_header(order, magic, 1);
    for frame in frames {
        file.extend(pcap_record(order, frame, len(frame)));
    }
    file
}

pub(super) fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let total = order.word(u32::try_from(padded + 12).unwrap());
    let mut block = order.word(kind).to_vec();
    block.extend(total);
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(total);
    block
}

pub(super) fn section(order: Order) -> Vec<u8> {
    let mut body = order.word(0x1a2b_3c4d).to_vec();
    body.extend(order.half(1));
    body.extend(order.half(0));
    body.extend([0xff; 8]);
    block(order, 0x0a0d_0d0a, &body)
}

/// The name is an option without the end-of-options mark, which the format allows.
pub(super) fn interface(order: Order, link: u16, snap: u32) -> Vec<u8> {
    let mut body = order.half(link).to_vec();
    body.extend([0; 2]);
    body.extend(order.word(snap));
    body.extend(order.half(2));
    body.extend(order.half(4));
    body.extend([0xff, 0xfe, b'e', b'0']);
    block(order, 1, &body)
}

pub(super) fn enhanced(order: Order, interface: u32, data: &[u8], original: u32) -> Vec<u8> {
    let mut body = order.word(interface).to_vec();
    body.extend([0; 8]);
    body.extend(order.word(len(data)));
    body.extend(order.word(original));
    body.extend(data);
    block(order, 6, &body)
}

pub(super) fn obsolete(order: Order, data: &[u8]) -> Vec<u8> {
    let mut body = [0; 12].to_vec();
    body.extend(order.word(len(data)));
    body.extend(order.word(len(data)));
    body.extend(data);
    block(order, 2, &body)
}

pub(super) fn simple(order: Order, data: &[u8], original: u32) -> Vec<u8> {
    let mut body = order.word(original).to_vec();
    body.extend(data);
    block(order, 3, &body)
}

/// A pcapng file of Ethernet frames in enhanced packet blocks.
pub(super) fn pcapng(order: Order, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = section(order);
    file.extend(interface(order, 1, 0));
    for frame in frames {
        file.extend(enhanced(order, 0, frame, len(frame)));
    }
    file
}
