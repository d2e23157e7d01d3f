//! What a call goes by and may be replaced while the node runs. A call takes one snapshot at its beginning and goes by
//! it to its end, whatever is replaced meanwhile.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::domain::clock::Clock;
use crate::domain::price::PriceList;
use crate::upstream::{BadTarget, Configs, Upstream};

/// Targets and prices that belong together.
pub struct Snapshot {
    pub upstream: Arc<Upstream>,
    pub prices: Arc<PriceList>,
}

/// The snapshot that holds now.
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    clock: Arc<dyn Clock>,
}

impl Live {
    /// # Errors
    /// A target whose URL or CA file cannot be used, by name.
    pub fn new(
        configs: Configs<'_>,
        prices: PriceList,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, BadTarget> {
        let upstream = Arc::new(Upstream::new(configs, &clock)?);
        let snapshot = ArcSwap::from_pointee(Snapshot { upstream, prices: Arc::new(prices) });
        Ok(Arc::new(Self { snapshot, clock }))
    }

    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Replaces the snapshot as a whole. Targets that go to the same place keep their connections, their health and what
    /// was counted of them; calls under way end on what they began with.
    ///
    /// # Errors
    /// As [`Self::new`] says; nothing has changed then.
    pub fn replace(&self, configs: Configs<'_>, prices: PriceList) -> Result<(), BadTarget> {
        let upstream = Arc::new(self.now().upstream.replaced_by(configs, &self.clock)?);
        upstream.on_config_activated();
        self.snapshot.store(Arc::new(Snapshot { upstream, prices: Arc::new(prices) }));
        Ok(())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

impl Collector for Live {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.now().upstream.encode_metrics(&mut to)
    }
}
