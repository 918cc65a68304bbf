import { useLayoutEffect, useRef, useState } from 'preact/hooks';

const OVERSCAN = 12;

/**
 * Which of `count` rows of equal height are in sight, with some around them; the document scrolls. Returns
 * {ref, start, end, rowPx}: `ref` is of what holds the rows.
 */
export function useRowsInSight(count) {
  const ref = useRef(null);
  const [sight, setSight] = useState({ start: 0, end: Math.min(count, 30), rowPx: 48 });
  useLayoutEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      const box = ref.current;
      if (!box) return;
      const rowPx = box.querySelector('[data-row]')?.offsetHeight || 48;
      const topPx = box.getBoundingClientRect().top;
      const first = Math.floor(-topPx / rowPx) - OVERSCAN;
      const shown = Math.ceil(innerHeight / rowPx) + 2 * OVERSCAN;
      // In steps, so that not every pixel makes new rows.
      const start = Math.max(0, Math.min(count - shown, first - (first % 4)));
      const end = Math.min(count, start + shown + 4);
      setSight((old) => (old.start === start && old.end === end && old.rowPx === rowPx ? old : { start, end, rowPx }));
    };
    const soon = () => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    addEventListener('scroll', soon, { passive: true });
    addEventListener('resize', soon);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', soon);
      removeEventListener('resize', soon);
    };
  }, [count]);
  return { ref, ...sight, end: Math.min(count, sight.end) };
}
