//! `limits`: shows and changes the limits by the byte.

use std::str::FromStr;

use rpp_runtime::rates::{LimitsChange, LimitsInForce};

use super::{api::Api, config_args::ConfigArgs, human, output};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node limits --config node.toml
  rpp-node limits --config node.toml --download 10MiB
  rpp-node limits --config node.toml --upload 0 --upload-per-peer 512KiB --persist

Rates are bytes of payload a second: a number, or one with KiB, MiB or GiB; 0: no limit. They hold from the next chunk on.")]
pub(crate) struct LimitsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Of all downloads together.
    #[arg(long, value_name = "RATE")]
    download: Option<Rate>,
    /// To all peers together.
    #[arg(long, value_name = "RATE")]
    upload: Option<Rate>,
    /// To one peer.
    #[arg(long, value_name = "RATE")]
    upload_per_peer: Option<Rate>,
    /// Keep the limits after a restart.
    #[arg(long)]
    persist: bool,
    /// Print JSON: the limits in force.
    #[arg(long)]
    json: bool,
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate(u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let shift = match unit.trim_start() {
            "" | "B" => 0,
            "KiB" | "K" => 10,
            "MiB" | "M" => 20,
            "GiB" | "G" => 30,
            _ => return Err("a number of bytes a second, as 500000, 512KiB, 10MiB or 1GiB".to_owned()),
        };
        if digits.is_empty() {
            return Err("it must begin with a number".to_owned());
        }
        // Digits alone fail to be a number only if there are too many.
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        number.map(Self).ok_or_else(|| format!("it is too large: at most {} bytes a second", u64::MAX))
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &LimitsArgs) -> anyhow::Result<()> {
    let api = Api::of(&args.config.load()?.config)?;
    let rate = |rate: Option<Rate>| rate.map(|Rate(rate)| rate);
    let change = LimitsChange {
        download_bytes_per_second: rate(args.download),
        upload_bytes_per_second: rate(args.upload),
        upload_bytes_per_second_per_peer: rate(args.upload_per_peer),
        persist: args.persist,
    };
    let answer = match change == LimitsChange::default() {
        true => api.get("/p2p/limits").await?,
        false => api.patch("/p2p/limits", &body(&change)).await?,
    };
    let limits: LimitsInForce = api.decode(&answer)?;
    if args.json {
        return output::json(&limits);
    }
    shown(&limits).iter().try_for_each(|line| output::line(line))
}

/// A body with only the limits that are to change.
fn body(change: &LimitsChange) -> serde_json::Value {
    let mut body = serde_json::json!({ "persist": change.persist });
    for (field, rate) in [
        ("download_bytes_per_second", change.download_bytes_per_second),
        ("upload_bytes_per_second", change.upload_bytes_per_second),
        ("upload_bytes_per_second_per_peer", change.upload_bytes_per_second_per_peer),
    ] {
        if let Some(rate) = rate {
            body[field] = rate.into();
        }
    }
    body
}

fn shown(limits: &LimitsInForce) -> [String; 4] {
    let rate =
        |rate: u64| if rate == 0 { "no limit".to_owned() } else { format!("{}/s ({rate} bytes)", human::bytes(rate)) };
    let all = limits.limits;
    [
        format!("downloads, all together:  {}", rate(all.download_bytes_per_second)),
        format!("uploads, all together:    {}", rate(all.upload_bytes_per_second)),
        format!("uploads, to one peer:     {}", rate(all.upload_bytes_per_second_per_peer)),
        match limits.persistent {
            true => "they hold after a restart as well".to_owned(),
            false => "until the node stops; --persist keeps them".to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_with_or_without_a_unit() {
        for (text, rate) in
            [("0", 0), ("500000", 500_000), ("512KiB", 512 << 10), ("10 MiB", 10 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(text.parse(), Ok(Rate(rate)));
        }
        for text in ["", "x", "-1", "1.5MiB", "10MB/s", "99999999999999999999", "99999999999999GiB"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["99999999999999999999999", "18446744073709551616", "99999999999999GiB"] {
            assert_eq!(
                text.parse::<Rate>(),
                Err("it is too large: at most 18446744073709551615 bytes a second".to_owned())
            );
        }
        assert_eq!("18446744073709551615".parse(), Ok(Rate(u64::MAX)));
        assert_eq!("KiB".parse::<Rate>(), Err("it must begin with a number".to_owned()));
    }

    #[test]
    fn what_is_not_to_change_is_not_sent() {
        let change = LimitsChange { upload_bytes_per_second: Some(0), persist: true, ..LimitsChange::default() };
        assert_eq!(body(&change), serde_json::json!({ "persist": true, "upload_bytes_per_second": 0 }));
    }
}
