//! The forwarder on the lans: cache, local names, upstreams.
