mod cloudflare;
mod codecs;
mod dns;
mod dyndns2;
mod properties;
mod schedule;
mod server;
