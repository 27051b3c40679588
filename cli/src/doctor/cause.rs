//! What can keep a forward or a service from working, and on which step of a packet's walk, or in which service, that is.

use serde::{Serialize, Serializer};

/// The steps of a walk from outside to the target and back, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The router runs, with this configuration.
    Router,
    /// The devices of its ports.
    Devices,
    /// The external address can be reached from outside.
    Address,
    /// The next hop outside answers.
    Gateway,
    /// The rules take the packet.
    Rule,
    /// No limit stands against it.
    Limits,
    /// The target is on a lan, or behind a route of one.
    Route,
    /// The target answers ARP.
    Target,
    /// Something listens at the target's port.
    Port,
    /// Answers to addresses outside come back to the router.
    WayBack,
    /// Names outside have the address that they ought to have. From here on: no step of a walk, but a service.
    Ddns,
    /// Hosts of the lans are answered by the DNS service.
    Dns,
    /// Machines of the lans get addresses.
    Dhcp,
}

impl Step {
    /// Those of a walk, in order.
    pub(crate) const ALL: [Step; 10] = [
        Step::Router,
        Step::Devices,
        Step::Address,
        Step::Gateway,
        Step::Rule,
        Step::Limits,
        Step::Route,
        Step::Target,
        Step::Port,
        Step::WayBack,
    ];

    /// The services.
    #[cfg(test)]
    pub(crate) const SERVICES: [Step; 3] = [Step::Ddns, Step::Dns, Step::Dhcp];

    /// Its name in JSON and in the catalogue of words.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Step::Router => "router",
            Step::Devices => "devices",
            Step::Address => "address",
            Step::Gateway => "gateway",
            Step::Rule => "rule",
            Step::Limits => "limits",
            Step::Route => "route",
            Step::Target => "target",
            Step::Port => "port",
            Step::WayBack => "way-back",
            Step::Ddns => "ddns",
            Step::Dns => "dns",
            Step::Dhcp => "dhcp",
        }
    }
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal at $step:ident,)+) => {
        /// A reason why packets do not get through, or a service does not work. In order: what comes first on the walk, and
        /// of one step what explains the others; then the services.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Cause { $($(#[doc = $doc])+ $name,)+ }

        impl Cause {
            /// Every one, in order.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Cause] = &[$(Cause::$name,)+];

            /// Its name in JSON and in the catalogue of words.
            pub(crate) const fn id(self) -> &'static str {
                match self { $(Cause::$name => $id,)+ }
            }

            /// The step that fails.
            pub(crate) const fn step(self) -> Step {
                match self { $(Cause::$name => Step::$step,)+ }
            }
        }
    };
}

causes! {
    /// The configuration has errors: the router would not start with it.
    ConfigInvalid = "config-invalid" at Router,
    /// There is no such device.
    DeviceAbsent = "device-absent" at Devices,
    /// The device is a member of a bridge, bond or VRF.
    DeviceEnslaved = "device-enslaved" at Devices,
    /// Another program reads and writes the device's frames.
    DeviceInUse = "device-in-use" at Devices,
    /// The kernel has an IP address on a port of the router.
    KernelAddress = "kernel-address" at Devices,
    /// No router answers.
    RouterNotRunning = "router-not-running" at Router,
    /// The file says something else about the forward than what is in force.
    ForwardNotLoaded = "forward-not-loaded" at Router,
    /// The file asks for a service that the router does not have in force.
    ServiceNotLoaded = "service-not-loaded" at Router,
    /// The wan's link is down.
    WanDown = "wan-down" at Devices,
    /// The link of the target's lan is down.
    LanDown = "lan-down" at Devices,
    /// Another machine of a lan uses the router's own address there.
    LanAddressConflict = "lan-address-conflict" at Devices,
    /// A device takes smaller packets than the configuration says.
    MtuSmaller = "mtu-smaller" at Devices,
    /// The kernel merges packets so that they cannot be taken apart again.
    LargeReceive = "large-receive-offload" at Devices,
    /// The kernel refuses packets for the box itself by their source.
    ReversePathFilter = "reverse-path-filter" at Devices,
    /// Another machine outside uses our external address.
    AddressConflict = "address-conflict" at Address,
    /// What a DHCP server gives to the wan is ours already.
    WanLeaseRefused = "wan-lease-refused" at Address,
    /// What a DHCP server gives to the wan is another machine's there.
    WanAddressTaken = "wan-address-taken" at Address,
    /// No DHCP server has given the wan an address, or it is lost.
    WanNoAddress = "wan-no-address" at Address,
    /// The external address is one of the B4 side of DS-Lite.
    WanDsLite = "wan-ds-lite" at Address,
    /// The external address is shared by the provider (RFC 6598).
    WanCgnat = "wan-cgnat" at Address,
    /// The external address is private (RFC 1918): another NAT is in front.
    WanPrivate = "wan-private" at Address,
    /// The external address is one that machines give themselves (RFC 3927).
    WanLinkLocal = "wan-link-local" at Address,
    /// No gateway: answers cannot leave.
    GatewayMissing = "gateway-missing" at Gateway,
    /// The gateway does not answer ARP.
    GatewaySilent = "gateway-silent" at Gateway,
    /// The address that was asked for is none of this router's.
    AddressNotOurs = "address-not-ours" at Rule,
    /// The forward is for another external address.
    OtherAddress = "other-address" at Rule,
    /// The clock cannot be right, so nothing with a schedule is open.
    ClockImplausible = "clock-implausible" at Rule,
    /// The forward leads to a known device that no lan has ever seen.
    TargetNeverSeen = "target-never-seen" at Rule,
    /// The forward leads to a known device that is nowhere at the moment.
    TargetAbsent = "target-absent" at Rule,
    /// The forward is disabled.
    ForwardDisabled = "forward-disabled" at Rule,
    /// The forward's time is over.
    ForwardExpired = "forward-expired" at Rule,
    /// The forward is out of its hours.
    OutOfHours = "out-of-hours" at Rule,
    /// Another forward takes the packets.
    Shadowed = "shadowed" at Rule,
    /// The forward's `from` does not admit who asks.
    SourceNotAdmitted = "source-not-admitted" at Rule,
    /// A host inside asks for the external address, and there is no hairpin.
    HairpinOff = "hairpin-off" at Rule,
    /// A host of one lan asks for a host of another that its lan does not reach.
    LanNotReaching = "lan-not-reaching" at Rule,
    /// The rules drop the packet for another reason.
    Dropped = "dropped" at Rule,
    /// The table of sessions is full.
    SessionsFull = "sessions-full" at Limits,
    /// The forward has as many sessions as it may have.
    MaxSessions = "max-sessions" at Limits,
    /// Who asks opens sessions too fast.
    SourceBraked = "source-braked" at Limits,
    /// The target is on no lan and behind no route.
    TargetOutside = "target-outside" at Route,
    /// Another machine has the target's address.
    TargetMoved = "target-moved" at Target,
    /// Two machines have the target's address.
    TargetDuplicate = "target-duplicate" at Target,
    /// The router of the target's route does not answer ARP.
    ViaSilent = "via-silent" at Target,
    /// The target does not answer ARP.
    TargetSilent = "target-silent" at Target,
    /// The target listens by the other protocol.
    OtherProtocol = "other-protocol" at Port,
    /// Nothing listens at the target's port.
    PortClosed = "port-closed" at Port,
    /// The target lets nobody in at this port.
    PortFiltered = "port-filtered" at Port,
    /// Some ports of the forward are open and others are not.
    SomePortsClosed = "some-ports-closed" at Port,
    /// The target's answers to outside go another way.
    ReplyElsewhere = "reply-elsewhere" at WayBack,
    /// The target's own firewall admits nobody from outside.
    TargetFirewall = "target-firewall" at WayBack,
    /// The target answers strangers, but not these.
    SourceUnanswered = "source-unanswered" at WayBack,
    /// The target does not answer what is forwarded.
    Unanswered = "unanswered" at WayBack,
    /// The address that a name ought to have is not known, or is none to be published.
    DdnsAddress = "ddns-address" at Ddns,
    /// A file of the router's own stands in the way of an update.
    DdnsLocal = "ddns-local" at Ddns,
    /// The clocks of router and service differ.
    DdnsClock = "ddns-clock" at Ddns,
    /// The service of a name cannot be reached.
    DdnsUnreachable = "ddns-unreachable" at Ddns,
    /// The service does not accept account, password, token or key.
    DdnsCredentials = "ddns-credentials" at Ddns,
    /// The service does not have the name.
    DdnsName = "ddns-name" at Ddns,
    /// The service has shut out the account or this program.
    DdnsBlocked = "ddns-blocked" at Ddns,
    /// The service is out of order.
    DdnsService = "ddns-service" at Ddns,
    /// The service has acknowledged the address, and the name leads elsewhere.
    DdnsElsewhere = "ddns-elsewhere" at Ddns,
    /// No resolver is configured or told by the wan.
    DnsNoResolver = "dns-no-resolver" at Dns,
    /// The authorities of resolvers over TLS cannot be read.
    DnsTls = "dns-tls" at Dns,
    /// No resolver answers.
    DnsSilent = "dns-silent" at Dns,
    /// One of several resolvers does not answer.
    DnsResolverDown = "dns-resolver-down" at Dns,
    /// The service goes on with other settings than the file has.
    DnsSettings = "dns-settings" at Dns,
    /// Queries over TCP are not answered.
    DnsTcp = "dns-tcp" at Dns,
    /// A block list is not in force, or not whole.
    DnsBlockList = "dns-block-list" at Dns,
    /// The service of a lan could not begin.
    DhcpNotServed = "dhcp-not-served" at Dhcp,
    /// Leases cannot be written.
    DhcpDisk = "dhcp-disk" at Dhcp,
    /// Every address is given out.
    DhcpExhausted = "dhcp-exhausted" at Dhcp,
    /// Another server gives addresses on the lan.
    DhcpOtherServer = "dhcp-other-server" at Dhcp,
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}
