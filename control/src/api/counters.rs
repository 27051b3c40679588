//! Everything that is counted.

use genkan_engine::counters::Counters;
use genkan_engine::frame::PortId;
use genkan_engine::verdict::DropReason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the worker counts beside the engine: frames that the I/O layer did not take or could not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Frames lost before the router could see them: a full ring or socket buffer.
    pub rx_lost: u64,
    /// Frames that the device's queue did not take.
    pub tx_refused: u64,
    /// Failed calls to receive.
    pub rx_errors: u64,
    /// Failed calls to send.
    pub tx_errors: u64,
    /// Frames that left within a super-frame that another frame of their flow started.
    pub tx_merged: u64,
}

impl std::ops::AddAssign for IoCounters {
    fn add_assign(&mut self, other: IoCounters) {
        // Named one by one, so that none is forgotten.
        let IoCounters { rx_lost, tx_refused, rx_errors, tx_errors, tx_merged } = other;
        self.rx_lost += rx_lost;
        self.tx_refused += tx_refused;
        self.rx_errors += rx_errors;
        self.tx_errors += tx_errors;
        self.tx_merged += tx_merged;
    }
}

/// `GET /v1/counters`: everything counted since the start, in the order of the packet's walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountersReport {
    /// Per port.
    pub ports: Vec<PortCountersRow>,
    /// How often each stage decided something.
    pub stages: Vec<CounterRow>,
    /// Frames not forwarded, by reason.
    pub drops: Vec<CounterRow>,
}

/// Frames and octets of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortCountersRow {
    /// `wan`, the lan's name, or `host`.
    pub port: String,
    /// Frames received (a super-frame counts once).
    pub rx_frames: u64,
    /// Octets received, Ethernet header included.
    pub rx_octets: u64,
    /// Frames sent, those that the router made included.
    pub tx_frames: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Frames lost before the router could see them: a full ring or socket buffer.
    #[serde(default)]
    pub rx_lost: u64,
    /// Frames that the device's queue did not take.
    pub tx_refused: u64,
    /// Failed calls to receive.
    pub rx_errors: u64,
    /// Failed calls to send.
    pub tx_errors: u64,
    /// Frames, of those sent, that left within a super-frame that another frame of their flow started.
    #[serde(default)]
    pub tx_merged: u64,
}

/// A named count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CounterRow {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// What it means, where it is not plain from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl CountersReport {
    /// All counters; `ports` names the configured ports in the order to list them, `io` is indexed by
    /// [`PortId::index`].
    pub fn new(counters: &Counters, io: &[IoCounters], ports: &[(PortId, String)]) -> CountersReport {
        let port_row = |(port, name): &(PortId, String)| {
            let engine = counters.ports[port.index()];
            let io = io.get(port.index()).copied().unwrap_or_default();
            PortCountersRow {
                port: name.clone(),
                rx_frames: engine.rx_frames,
                rx_octets: engine.rx_octets,
                tx_frames: engine.tx_frames,
                tx_octets: engine.tx_octets,
                rx_lost: io.rx_lost,
                tx_refused: io.tx_refused,
                rx_errors: io.rx_errors,
                tx_errors: io.tx_errors,
                tx_merged: io.tx_merged,
            }
        };
        let stage_row =
            |(name, value): (&str, u64)| CounterRow { name: name.to_owned(), value, description: None };
        let drop_row = |&reason: &DropReason| CounterRow {
            name: reason.name().to_owned(),
            value: counters.dropped(reason),
            description: Some(reason.description().trim().to_owned()),
        };
        CountersReport {
            ports: ports.iter().map(port_row).collect(),
            stages: counters.stages.iter().map(stage_row).collect(),
            drops: DropReason::ALL.iter().map(drop_row).collect(),
        }
    }

    /// Leaves out stages and reasons that never counted anything.
    pub fn without_zeros(mut self) -> CountersReport {
        self.stages.retain(|row| row.value > 0);
        self.drops.retain(|row| row.value > 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_zeros_until_asked() {
        let mut counters = Counters::default();
        counters.drops[DropReason::Filtered as usize] = 3;
        counters.stages.fast_path = 9;
        counters.ports[PortId::WAN.index()].rx_frames = 12;
        let io = [IoCounters { tx_refused: 2, ..IoCounters::default() }];
        let ports = [(PortId::WAN, "wan".to_owned()), (PortId::lan(0), "home".to_owned())];
        let report = CountersReport::new(&counters, &io, &ports);
        assert_eq!(report.drops.len(), DropReason::COUNT);
        assert_eq!(
            (report.ports[0].rx_frames, report.ports[0].tx_refused, report.ports[1].tx_refused),
            (12, 2, 0)
        );
        let short = report.without_zeros();
        assert_eq!(short.stages.len(), 1);
        assert_eq!((short.drops[0].name.as_str(), short.drops[0].value), ("filtered", 3));
    }
}
