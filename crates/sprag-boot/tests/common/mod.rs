//! Calls with the power cut at every operation, and again in what follows.
#![allow(dead_code)] // Each test file uses its share.

use ed25519_dalek::SigningKey;
use sprag_boot::Error;
use sprag_testkit::flash::{SimFlash, Torn};
use sprag_testkit::image::{McuBootImage, Version};

pub(crate) const TORN: [Torn; 4] = [Torn::Nothing, Torn::Half, Torn::Bits(1), Torn::Bits(2)];

/// A small image of this version.
pub(crate) fn image(major: u8) -> Vec<u8> {
    let version = Version { major, minor: 0, revision: 0, build: 0 };
    McuBootImage { version, header_size: 32, payload: &[major; 500] }.sign(&SigningKey::from_bytes(&[1; 32]))
}

/// A call to be cut.
pub(crate) struct Campaign<'a> {
    pub(crate) flash: &'a SimFlash,
    /// The call, over the flash as it is.
    pub(crate) call: &'a dyn Fn() -> Result<(), Error>,
    /// A reset: panics when nothing runs that may, or when the flash fails though the power is there. Whether the power
    /// lasted.
    pub(crate) boot: &'a dyn Fn() -> bool,
    /// Whether the bootloader's own operations are cut, too.
    pub(crate) cut_boot: bool,
    /// What must be so once the call has come to its end.
    pub(crate) done: &'a dyn Fn(),
}

impl Campaign<'_> {
    /// Cuts the call at each operation in each way; then again at each operation of the same call, made once more, and of
    /// the bootloader. At any time the bootloader boots, and the call can be made again. How many states there were.
    pub(crate) fn run(&self) -> u32 {
        let mut states = 0;
        let start = self.flash.contents();
        for torn in TORN {
            for first in 0.. {
                self.flash.load(0, &start).unwrap();
                let Some(after) = self.cut(first, torn) else {
                    (self.done)();
                    break;
                };
                states += 1 + self.reboot(&after, torn);
                for second in 0.. {
                    // From the start each time: cells that were torn stay so, however they read.
                    self.flash.load(0, &start).unwrap();
                    self.cut(first, torn).unwrap();
                    let Some(after) = self.cut(second, torn) else {
                        (self.done)();
                        break;
                    };
                    (self.call)().unwrap();
                    (self.done)();
                    states += 1 + self.reboot(&after, torn);
                }
            }
        }
        self.flash.load(0, &start).unwrap();
        (self.call)().unwrap();
        (self.done)();
        states
    }

    /// Makes the call, cut at this operation. What that leaves behind; `None` when it came to its end before.
    fn cut(&self, at: u64, torn: Torn) -> Option<Vec<u8>> {
        self.flash.cut_power_after(at, torn);
        let result = (self.call)();
        let dead = self.flash.is_dead();
        self.flash.power_on();
        if !dead {
            result.unwrap();
        }
        dead.then(|| self.flash.contents())
    }

    /// Resets in this state: whole, and with the power cut within the reset.
    fn reboot(&self, after: &[u8], torn: Torn) -> u32 {
        self.flash.load(0, after).unwrap();
        assert!((self.boot)());
        assert!(matches!((self.call)(), Ok(()) | Err(Error::OnTrial)), "after a reset");
        let mut states = 0;
        for at in 0.. {
            if !self.cut_boot {
                break;
            }
            self.flash.load(0, after).unwrap();
            self.flash.cut_power_after(at, torn);
            let lasted = (self.boot)();
            self.flash.power_on();
            if lasted {
                break;
            }
            assert!((self.boot)());
            states += 1;
        }
        states
    }
}
