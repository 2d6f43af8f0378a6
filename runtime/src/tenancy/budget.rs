//! A budget, as people write it: `5 USD/day`, `100000 tokens/hour`, `2.5 GBh/month`, `500 J/day`, `20 gCO2e/month`.

use std::fmt;
use std::str::FromStr;

use meter::rate::RateCard;
use serde::{Deserialize, Serialize};

use crate::config::decimal;

/// KiB · milliseconds of a GB held for an hour: 10⁹ · 3.6·10⁶ ÷ 1024, which is whole.
const KIB_MILLIS_PER_GB_HOUR: u64 = 3_515_625_000_000;
const PICO_PER_UNIT: u64 = 1_000_000_000_000;
const NANOJOULES_PER_JOULE: u64 = 1_000_000_000;
const MICROGRAMS_PER_GRAM: u64 = 1_000_000;

/// What a budget is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BudgetUnit {
    /// Of prompts and answers together.
    Tokens,
    /// This currency's, in 10⁻¹².
    Money(String),
    /// Memory over time, in KiB · milliseconds.
    Memory,
    /// Nanojoules.
    Energy,
    /// Micrograms of CO₂ equivalent.
    Carbon,
}

impl BudgetUnit {
    /// As it is written in a budget.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Tokens => "tokens",
            Self::Money(currency) => currency,
            Self::Memory => "GBh",
            Self::Energy => "J",
            Self::Carbon => "gCO2e",
        }
    }

    /// So much of it, in what is written in a budget.
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    pub(crate) fn shown(&self, amount: u64) -> f64 {
        amount as f64 / self.scale() as f64
    }

    const fn scale(&self) -> u64 {
        match self {
            Self::Tokens => 1,
            Self::Money(_) => PICO_PER_UNIT,
            Self::Memory => KIB_MILLIS_PER_GB_HOUR,
            Self::Energy => NANOJOULES_PER_JOULE,
            Self::Carbon => MICROGRAMS_PER_GRAM,
        }
    }
}

/// When a budget begins anew: with every whole one of these, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Hour,
    Day,
    Month,
}

impl Window {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// Its word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// How much may be spent until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Budget {
    /// As it was written.
    text: String,
    pub(crate) unit: BudgetUnit,
    /// In the unit's own.
    pub(crate) amount: u64,
    pub(crate) window: Window,
}

/// Why a text is no budget, or one that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BudgetError {
    /// It is not written as one.
    #[error(
        "{0:?} is no budget; write it like 5 USD/day, 100000 tokens/hour, 2.5 GBh/month, 500 J/day or 20 gCO2e/month"
    )]
    Form(String),
    /// Prices are in another currency.
    #[error("the budget {text:?} is in another currency than prices are: {currency}")]
    Currency { text: String, currency: String },
    /// What requests cost is not known.
    #[error("the budget {text:?} needs prices of processor time and memory, which [rates] does not have")]
    Unpriced { text: String },
}

impl Budget {
    /// Makes sure that what is spent of it can be told by `rates`.
    ///
    /// # Errors
    /// [`BudgetError::Currency`] and [`BudgetError::Unpriced`].
    pub(crate) fn check(&self, rates: &RateCard) -> Result<(), BudgetError> {
        let BudgetUnit::Money(currency) = &self.unit else { return Ok(()) };
        let text = self.text.clone();
        if *currency != rates.currency {
            return Err(BudgetError::Currency { text, currency: rates.currency.clone() });
        }
        if rates.cpu_hour.is_none() || rates.memory_gb_hour.is_none() {
            return Err(BudgetError::Unpriced { text });
        }
        Ok(())
    }
}

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let bad = || BudgetError::Form(text.chars().take(64).collect());
        let (amount, window) = text.trim().split_once('/').ok_or_else(bad)?;
        let unit_at = amount.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, unit) = amount.split_at(unit_at);
        let window = Window::ALL.into_iter().find(|known| known.name() == window.trim()).ok_or_else(bad)?;
        let unit = match unit.trim() {
            "tokens" => BudgetUnit::Tokens,
            "GBh" => BudgetUnit::Memory,
            "J" => BudgetUnit::Energy,
            "gCO2e" => BudgetUnit::Carbon,
            code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                BudgetUnit::Money(code.to_owned())
            }
            _ => return Err(bad()),
        };
        let amount = decimal(number, unit.scale()).and_then(|amount| u64::try_from(amount).ok());
        let amount = amount.filter(|&amount| amount > 0).ok_or_else(bad)?;
        Ok(Self { text: text.trim().to_owned(), unit, amount, window })
    }
}

impl TryFrom<String> for Budget {
    type Error = BudgetError;

    fn try_from(text: String) -> Result<Self, BudgetError> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.text
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use meter::units::KibMillis;

    use super::*;

    #[test]
    fn budgets_are_read_exactly() {
        let read = |text: &str| {
            let budget: Budget = text.parse().unwrap();
            (budget.unit, budget.amount, budget.window)
        };
        let usd = BudgetUnit::Money("USD".to_owned());
        assert_eq!(read("5 USD/day"), (usd.clone(), 5_000_000_000_000, Window::Day));
        assert_eq!(read("0.000001USD / hour"), (usd, 1_000_000, Window::Hour));
        assert_eq!(read("100000 tokens/hour"), (BudgetUnit::Tokens, 100_000, Window::Hour));
        assert_eq!(read("500 J/day"), (BudgetUnit::Energy, 500_000_000_000, Window::Day));
        assert_eq!(read("20 gCO2e/month"), (BudgetUnit::Carbon, 20_000_000, Window::Month));
        let (unit, amount, _) = read("2.5 GBh/month");
        assert_eq!((unit, KibMillis::new(amount).gb_hours()), (BudgetUnit::Memory, 2.5));
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for text in [
            "",
            "5",
            "5 USD",
            "USD/day",
            "5/day",
            "5 usd/day",
            "5 USD/week",
            "-5 USD/day",
            "0 tokens/day",
            "1e9 tokens/day",
            "20000000 USD/day",
            "1.5.2 J/day",
            "0.1 tokens/day",
        ] {
            assert!(matches!(text.parse::<Budget>(), Err(BudgetError::Form(_))), "{text:?}");
        }
    }

    #[test]
    fn money_is_the_rate_cards() {
        let budget: Budget = "5 EUR/day".parse().unwrap();
        let dollars = RateCard::default();
        assert!(matches!(budget.check(&dollars), Err(BudgetError::Currency { .. })));
        let euros = RateCard { currency: "EUR".to_owned(), ..RateCard::default() };
        assert_eq!(budget.check(&euros), Ok(()));
        assert!(matches!(budget.check(&RateCard { cpu_hour: None, ..euros }), Err(BudgetError::Unpriced { .. })));
        assert_eq!("5 J/day".parse::<Budget>().unwrap().check(&dollars), Ok(()));
    }
}
