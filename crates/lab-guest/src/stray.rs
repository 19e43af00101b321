//! A card that is told addresses of memory that was never mapped for it.

use std::sync::Arc;
use std::time::Duration;

use barewire::{
    Batch, BusError, DmaError, DmaMap, DmaRegion, Error, Iova, Layout, PciFunction, Port,
    PortConfig,
};
use barewire_bus::{DeviceBar, Host, HostFunction, Interrupts, PciAddress};

/// Bytes of the rings' region and below: what is larger holds buffers.
const RINGS: usize = 2 << 20;

/// How far astray the card is led: to where nothing has been mapped.
const ASTRAY: u64 = 1 << 30;

/// A device whose driver is told wrong addresses of buffers.
struct Misled {
    function: HostFunction,
    by: u64,
}

#[derive(Debug)]
struct WrongAddresses {
    right: Arc<dyn DmaMap>,
    by: u64,
}

/// What the driver is told, or the way back.
fn shifted(region: &DmaRegion, layout: Layout, by: u64) -> Layout {
    match layout {
        Layout::Linear(iova) if region.len() > RINGS => {
            Layout::Linear(Iova::new(iova.get().wrapping_add(by)))
        }
        other => other,
    }
}

impl DmaMap for WrongAddresses {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let layout = self.right.map(region)?;
        Ok(shifted(region, layout, self.by))
    }

    fn unmap(&self, region: &Arc<DmaRegion>, layout: &Layout) {
        let right = shifted(region, layout.clone(), self.by.wrapping_neg());
        self.right.unmap(region, &right);
    }
}

impl PciFunction for Misled {
    type Bar = DeviceBar;

    fn name(&self) -> &str {
        self.function.name()
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        self.function.config_read32(offset)
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        self.function.config_write32(offset, value)
    }

    fn bar(&self, index: u8) -> Result<DeviceBar, BusError> {
        self.function.bar(index)
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::new(WrongAddresses {
            right: self.function.dma(),
            by: self.by,
        })
    }

    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        self.function.interrupts(vectors)
    }
}

/// How many frames the card at `address` sends of one that lies `by` bytes from where it is told.
fn sent(address: PciAddress, by: u64) -> Result<u64, Error> {
    let function = Host::default().open(address, None)?;
    let mut port = Port::open(Misled { function, by }, &PortConfig::default())?;
    let (Some(rx), Some(mut tx)) = (port.take_rx(0), port.take_tx(0)) else {
        return Ok(0);
    };
    port.wait_for_link(Duration::from_secs(5))?;
    let mut batch = Batch::new(1);
    if let Some(packet) = rx.pool().packet(&[0xFF; 60]) {
        let _ = batch.push(packet);
    }
    tx.send(&mut batch)?;
    for _ in 0..100 {
        if port.statistics()?.tx_packets > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(port.statistics()?.tx_packets)
}

/// Has the card at `address` read a buffer at its right address, and then one where nothing is
/// mapped, which the IOMMU must stop.
pub(crate) fn run(address: &str) -> Result<String, String> {
    let address: PciAddress = address.parse().map_err(|error| format!("{error}"))?;
    let sent = |by| sent(address, by).map_err(|error| error.to_string());
    let (right, stray) = (sent(0)?, sent(ASTRAY)?);
    if (right, stray) == (1, 0) {
        return Ok("the card sent what it may read, and nothing else".to_owned());
    }
    Err(format!(
        "of a frame at its right address the card sent {right}, of one elsewhere {stray}"
    ))
}
