/** A line of values over time. */

const WIDTH = 240;
const HEIGHT = 36;

/** @param properties values: from the oldest; count: how many the width holds; high: the value at the top, the largest where absent. */
export function Sparkline(properties: { label: string; values: readonly number[]; count: number; high?: number }) {
  const { label, values, count } = properties;
  const high = Math.max(properties.high ?? 0, ...values, 1e-9);
  const x = (index: number) => WIDTH - ((values.length - 1 - index) * WIDTH) / (count - 1);
  const y = (value: number) => HEIGHT - 2 - (value / high) * (HEIGHT - 4);
  const points = values.map((value, index) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`);
  const line = `M${points.join("L")}`;
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      {values.length > 1 && (
        <>
          <path class="area" d={`${line}L${WIDTH} ${HEIGHT}L${x(0).toFixed(1)} ${HEIGHT}Z`} />
          <path class="line" d={line} />
        </>
      )}
    </svg>
  );
}
