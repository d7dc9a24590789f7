//! Wi-Fi, and the sockets over it.

use embassy_executor::Spawner;
use embassy_net::dns::DnsSocket;
use embassy_net::tcp::client::{TcpClient, TcpClientState};
use embassy_net::{Config, Runner, StackResources};
use embassy_time::{Duration, Timer};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{self, AuthenticationMethodConfig, ControllerConfig, Interface, WifiController};
use sprag_road::{Stop, Wifi};
use static_cell::StaticCell;

/// The broker's and the image's server's.
const SOCKETS: usize = 2;
const SEND: usize = 2048;
/// What a server may send ahead, in whole segments (see BENCHMARKS.md): over a round trip of 100 ms, 85 KiB/s.
const RECEIVE: usize = 6 * 1460;

type Tcp = TcpClient<'static, SOCKETS, SEND, RECEIVE>;

/// Switches the radio on and gets on the network, as often as it takes: sockets are there at once, the network comes when
/// it comes.
pub(crate) fn start(spawner: Spawner, radio: WIFI<'static>, network: Wifi) -> Result<(Tcp, DnsSocket<'static>), Stop> {
    let wrong = |name| move |_| Stop::Setting(sprag_road::BadSetting::Wrong(name));
    let authentication = match network.password {
        "" => AuthenticationMethodConfig::Open,
        password => {
            AuthenticationMethodConfig::Wpa2Personal(password.try_into().map_err(wrong("SPRAG_WIFI_PASSWORD"))?)
        }
    };
    let station = StationConfig::default()
        .with_ssid(network.ssid.try_into().map_err(wrong("SPRAG_WIFI_SSID"))?)
        .with_authentication(authentication);
    let config = ControllerConfig::default().with_initial_config(wifi::Config::Station(station));
    let controller = WifiController::new(radio, config).map_err(|_| Stop::Failed("radio"))?;

    static RESOURCES: StaticCell<StackResources<{ SOCKETS + 2 }>> = StaticCell::new();
    static STATE: StaticCell<TcpClientState<SOCKETS, SEND, RECEIVE>> = StaticCell::new();
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(Interface::station(), Config::dhcpv4(Default::default()), resources, seed);
    spawner.spawn(defmt::unwrap!(run(runner)));
    spawner.spawn(defmt::unwrap!(stay(controller)));
    Ok((TcpClient::new(stack, STATE.init(TcpClientState::new())), DnsSocket::new(stack)))
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Interface>) -> ! {
    runner.run().await
}

/// On the network, and on it again.
#[embassy_executor::task]
async fn stay(mut controller: WifiController<'static>) -> ! {
    loop {
        match controller.connect_async().await {
            Ok(_) => {
                defmt::info!("on the network");
                let _ = controller.wait_for_disconnect_async().await;
            }
            Err(error) => defmt::warn!("no network: {}", error),
        }
        Timer::after(Duration::from_secs(5)).await;
    }
}
