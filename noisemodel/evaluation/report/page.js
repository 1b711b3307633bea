(() => {
  const root = document.documentElement;
  const fail = (error) => { root.dataset.error += `${(error && error.message) || error}; `; };
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const plots = [...document.querySelectorAll(".plot")].map((place) => ({
    place, figure: JSON.parse(place.nextElementSibling.textContent),
  }));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  root.dataset.charts = plots.length;

  // The page's colours and fonts around what the figure itself says.
  function layoutOf(figure, width) {
    const layout = structuredClone(figure.layout), font = getComputedStyle(document.body).fontFamily;
    for (const key of ["xaxis", "yaxis"]) {
      const lines = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--line") };
      layout[key] = { automargin: key === "xaxis", ...lines, ...layout[key] };
      layout[key].title = { ...layout[key].title, font: { size: 12 }, standoff: 8 };
    }
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: font, size: 12, color: colour("--ink") }, hoverlabel: { font: { family: font } },
      margin: { l: 62, r: 12, t: 8, b: 40 },
      dragmode: matchMedia("(pointer: coarse)").matches || width < 600 && innerWidth < 700 ? false : "zoom",
    };
  }
  // Colours that are too deep on a dark page -> what they become there.
  const LIGHTER = {
    "#0072B2": "#4BA3DC", "rgba(0,114,178,": "rgba(75,163,220,",
    "#D55E00": "#F58A3C", "rgba(213,94,0,": "rgba(245,138,60,", "#440154": "#B48CD6", "#31688E": "#5B9BC4",
  };
  function tracesOf(figure) {
    let text = JSON.stringify(figure.data);
    if (dark.matches) for (const [deep, light] of Object.entries(LIGHTER)) text = text.replaceAll(deep, light);
    return JSON.parse(text).map((trace) => {
      if (trace.meta === "ink") trace.line.color = colour("--ink");
      return trace;
    });
  }
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const draw = ({ place, figure }) =>
    Plotly.react(place, tracesOf(figure), layoutOf(figure, place.clientWidth), config);
  const drawn = plots.map((plot) => Promise.resolve().then(() => draw(plot))
    .then(() => { root.dataset.drawn = Number(root.dataset.drawn) + 1; }).catch(fail));
  Promise.all(drawn).then(() => { root.dataset.overflow = Math.max(0, root.scrollWidth - root.clientWidth); });
  dark.addEventListener("change", () => plots.forEach(draw));

  // The magnifier: one place (x, y in 0..1) for all pictures of a group.
  const PICTURES = 3;  // clean, real and generated, which share a stretch; differences keep their colours
  const REAL = 1;
  const cut = ({ image }, x, y, share) => {
    const wide = image.naturalWidth, high = image.naturalHeight;
    const w = Math.max(2, Math.round(share * wide)), h = Math.min(high, Math.round(w / 2));
    const clamp = (at, most) => Math.round(Math.min(Math.max(at, 0), most));
    return { left: clamp(x * wide - w / 2, wide - w), top: clamp(y * high - h / 2, high - h), w, h };
  };
  const pixels = ({ image }, { left, top, w, h }) => {
    const small = new OffscreenCanvas(w, h), pen = small.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, left, top, w, h, 0, 0, w, h);
    return { small, pen, data: pen.getImageData(0, 0, w, h) };
  };
  const percentiles = ({ data }) => {
    const sorted = data.filter((_, i) => i % 4 < 3).sort();
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    return [at(0.005), Math.max(at(0.995), at(0.005) + 1)];
  };
  for (const group of document.querySelectorAll(".magnifier")) {
    const views = [...group.querySelectorAll("figure")].map((figure) => ({
      image: figure.querySelector("img"), box: figure.querySelector(".box"), canvas: figure.querySelector("canvas"),
    }));
    const slider = group.querySelector("[type=range]"), lifted = group.querySelector("[type=checkbox]");
    let x = Number(group.dataset.x), y = Number(group.dataset.y);
    const show = () => {
      const share = Math.min(1, slider.value / group.dataset.width);
      group.querySelector("output").textContent = `${slider.value} px`;
      const [low, high] = percentiles(pixels(views[REAL], cut(views[REAL], x, y, share)).data);
      views.forEach((view, index) => {
        const { image, box, canvas } = view, place = cut(view, x, y, share), { small, pen, data } = pixels(view, place);
        if (lifted.checked && index < PICTURES) {
          for (let i = 0; i < data.data.length; i++) {
            if (i % 4 < 3) data.data[i] = 255 * (data.data[i] - low) / (high - low);  // clamped by its type
          }
          pen.putImageData(data, 0, 0);
        }
        canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
        canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
        const large = canvas.getContext("2d");
        large.imageSmoothingEnabled = false;
        large.drawImage(small, 0, 0, canvas.width, canvas.height);
        const wide = image.naturalWidth, tall = image.naturalHeight;
        const sides = { left: place.left / wide, top: place.top / tall, width: place.w / wide, height: place.h / tall };
        for (const [side, part] of Object.entries(sides)) box.style[side] = `${100 * part}%`;
      });
      group.dataset.shown = `${x.toFixed(3)},${y.toFixed(3)}`;
    };
    const move = (toX, toY) => {
      [x, y] = [toX, toY].map((at) => Math.min(Math.max(at, 0), 1));
      show();
    };
    const follow = (event) => {
      const frame = event.currentTarget.getBoundingClientRect();
      move((event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height);
    };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    for (const { image } of views) {
      const under = image.parentElement;
      under.tabIndex = 0;
      under.addEventListener("pointermove", follow);
      under.addEventListener("pointerdown", follow);
      under.addEventListener("keydown", (event) => {
        const step = steps[event.key];
        if (!step) return;
        event.preventDefault();
        move(x + step[0] * 0.02, y + step[1] * 0.02);
      });
    }
    slider.addEventListener("input", show);
    lifted.addEventListener("change", show);
    addEventListener("resize", show);
    Promise.all(views.map(({ image }) => image.decode())).then(show).catch(fail);
  }
})();
