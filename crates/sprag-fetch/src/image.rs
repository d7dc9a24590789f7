//! Where the bytes of an image come from: the seam behind which HTTP is one of several.

use embedded_hal_async::delay::DelayNs;

use crate::connector::Connector;
use crate::download::{Download, Event, Fetcher};
use crate::error::Error;
use crate::session::Session;
use crate::url::{Url, UrlError};

/// Opens images by where they lie. A [`Fetcher`] is one, by URL.
///
/// Another one may take them from an MQTT stream, a serial line, a card: it pins in the [`Session`] what tells its objects
/// apart, and says with [`Error`] what can be done about a failure.
pub trait ImageSource {
    /// The transport's error.
    type Error: embedded_io_async::Error;
    /// An image that is being read.
    type Image<'s, L: Iterator<Item = u8> + Clone>: Image<Error = Self::Error>
    where
        Self: 's;

    /// Opens the image at `location`, a URL or what else this source goes by, to go on where `session` says. Nothing is
    /// sent before the first [`Image::read`].
    ///
    /// # Errors
    /// When the location is none that this source understands.
    fn open<L: Iterator<Item = u8> + Clone>(
        &mut self,
        location: L,
        session: Session,
    ) -> Result<Self::Image<'_, L>, UrlError>;
}

/// The bytes of one image in their order, none lost and none twice.
#[allow(async_fn_in_trait)] // Executors of this field run futures where they are made: no `Send` to promise.
pub trait Image {
    /// The transport's error.
    type Error: embedded_io_async::Error;

    /// Returns the state of the download. Its size is known from the first byte on, unless it comes in chunks that say
    /// none: then from the last.
    fn session(&self) -> &Session;

    /// The next bytes, written to the front of `buf`; 0 when the image is complete.
    ///
    /// # Errors
    /// What could not be dealt with inside; calling again tries again.
    ///
    /// # Cancellation safety
    /// Dropping the future must lose no byte and double none.
    async fn read(&mut self, buf: &mut [u8], events: &mut dyn FnMut(Event)) -> Result<usize, Error<Self::Error>>;
}

impl<C: Connector, D: DelayNs> ImageSource for Fetcher<C, D> {
    type Error = C::Error;
    type Image<'s, L: Iterator<Item = u8> + Clone>
        = Download<'s, C, D, L>
    where
        Self: 's;

    fn open<L: Iterator<Item = u8> + Clone>(
        &mut self,
        location: L,
        session: Session,
    ) -> Result<Download<'_, C, D, L>, UrlError> {
        Ok(self.download(Url::parse(location)?, session))
    }
}

impl<C: Connector, D: DelayNs, U: Iterator<Item = u8> + Clone> Image for Download<'_, C, D, U> {
    type Error = C::Error;

    fn session(&self) -> &Session {
        self.session()
    }

    fn read(
        &mut self,
        buf: &mut [u8],
        events: &mut dyn FnMut(Event),
    ) -> impl Future<Output = Result<usize, Error<C::Error>>> {
        self.read(buf, events)
    }
}
