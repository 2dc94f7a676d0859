// Numbers, bytes and times in words.

const NUMBER = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 });
const MOMENT = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const AGO = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const STEPS = [['second', 60], ['minute', 60], ['hour', 24], ['day', 7]];

export function number(value) {
  return typeof value === 'number' ? NUMBER.format(value) : String(value);
}

export function bytes(count) {
  if (typeof count !== 'number') return '';
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let left = count;
  let unit = 0;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${unit ? left.toPrecision(3) : left} ${units[unit]}`;
}

export function moment(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? '' : MOMENT.format(date);
}

export function ago(text, now = Date.now()) {
  let amount = (new Date(text).getTime() - now) / 1000;
  if (Number.isNaN(amount)) return '';
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) return AGO.format(Math.round(amount), unit);
    amount /= size;
  }
  return moment(text);
}

/** `input_pixel` and `cpu-seconds` as people write them. */
export function words(name) {
  const text = name.replace(/[_-]+/g, ' ').replace(/\b(cpu|gpu)\b/gi, (unit) => unit.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What a metric of `usage` or an estimate is, whatever its shape. */
export function metric(value) {
  if (value !== null && typeof value === 'object' && 'value' in value) {
    if (/^(b|byte|bytes)$/i.test(value.unit ?? '')) return bytes(value.value);
    return `${number(value.value)} ${value.unit ?? ''}`.trim();
  }
  return value !== null && typeof value === 'object' ? JSON.stringify(value) : number(value);
}
