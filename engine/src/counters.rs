//! Counters of one router: per port, per stage and per drop reason.

use crate::frame::PortId;
use crate::verdict::DropReason;

/// Frames and octets of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames received (a super-frame counts once).
    pub rx_frames: u64,
    /// Octets received, Ethernet header included.
    pub rx_octets: u64,
    /// Frames sent, those that the engine made included.
    pub tx_frames: u64,
    /// Octets sent.
    pub tx_octets: u64,
}

macro_rules! stage_counters {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// How often each stage decided something.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StageCounters { $($(#[doc = $doc])+ pub $field: u64,)+ }

        impl std::ops::AddAssign for StageCounters {
            fn add_assign(&mut self, other: StageCounters) {
                $(self.$field += other.$field;)+
            }
        }

        impl StageCounters {
            /// Name and value of every stage counter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+].into_iter()
            }

            fn add(&mut self, other: &StageCounters) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

stage_counters! {
    /// Frames forwarded by one look-up and a replayed rewrite.
    fast_path,
    /// Sessions opened from inside.
    sessions_outbound,
    /// Sessions opened through a forward.
    sessions_forward,
    /// Sessions opened from outside on a dynamic mapping that admits the source.
    sessions_inbound,
    /// Sessions opened through the DMZ.
    sessions_dmz,
    /// Sessions opened between lans, without NAT.
    sessions_routed,
    /// Sessions that ended by their idle timeout.
    sessions_expired,
    /// Sessions that made room in a full table.
    sessions_evicted,
    /// Sessions that ended since the rule or address that allowed them went away.
    sessions_revoked,
    /// Mappings created.
    mappings_created,
    /// Mappings ended.
    mappings_ended,
    /// Packets turned round at the external address.
    hairpin,
    /// ICMP errors translated.
    icmp_errors_translated,
    /// ICMP errors that the router made itself.
    icmp_errors_sent,
    /// ICMP errors not made since their rate is limited.
    icmp_errors_suppressed,
    /// RSTs sent to inside hosts for TCP without a session.
    resets_sent,
    /// Echo requests to the router answered.
    echo_replies,
    /// Datagrams taken for services of the router itself.
    local_received,
    /// Datagrams that services of the router itself sent.
    local_sent,
    /// ARP requests answered.
    arp_replies,
    /// ARP requests sent.
    arp_requests,
    /// Frames held for an ARP answer.
    frames_held,
    /// Fragments held for their first.
    fragments_held,
    /// Packets cut into fragments for a smaller MTU.
    packets_fragmented,
    /// SYN segments whose MSS was lowered.
    mss_clamped,
    /// Frames given to the worker that owns them.
    handed_over,
}

/// All counters of one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// By [`PortId::index`].
    pub ports: [PortCounters; PortId::COUNT],
    /// By stage.
    pub stages: StageCounters,
    /// By `DropReason as usize`.
    pub drops: [u64; DropReason::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            ports: [PortCounters::default(); PortId::COUNT],
            stages: StageCounters::default(),
            drops: [0; DropReason::COUNT],
        }
    }
}

/// The counters of several workers together.
impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        for (sum, port) in self.ports.iter_mut().zip(other.ports) {
            sum.rx_frames += port.rx_frames;
            sum.rx_octets += port.rx_octets;
            sum.tx_frames += port.tx_frames;
            sum.tx_octets += port.tx_octets;
        }
        self.stages += other.stages;
        for (sum, drops) in self.drops.iter_mut().zip(other.drops) {
            *sum += drops;
        }
    }
}

impl Counters {
    /// Counts on by what another worker of the same router has counted.
    pub fn add(&mut self, other: &Counters) {
        for (port, other) in self.ports.iter_mut().zip(&other.ports) {
            port.rx_frames += other.rx_frames;
            port.rx_octets += other.rx_octets;
            port.tx_frames += other.tx_frames;
            port.tx_octets += other.tx_octets;
        }
        self.stages.add(&other.stages);
        for (drops, other) in self.drops.iter_mut().zip(&other.drops) {
            *drops += other;
        }
    }

    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Reasons that have dropped anything, with their counts.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|&(_, count)| count > 0)
    }
}
