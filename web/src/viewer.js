// Shows pictures on a canvas: the blend of base and full picture, zoomed and moved, and the original with it. A blend
// is two drawings, the second of them with an opacity of beta, so that the slider needs no network.

const MAX_ZOOM = 32; // screen pixels of a picture's pixel
const LARGEST_FIT = 2; // CSS pixels of a picture's pixel
const STEP = 1.25; // of a key or a button
const NEAR = 14; // CSS pixels from the divider that a pointer may be
const SQUARE = 8; // CSS pixels of the pattern behind what is transparent

/**
 * @typedef {"off" | "wipe" | "side"} Comparison
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 */

export class Viewer {
  /** @param {HTMLCanvasElement} canvas @param {() => void} onChange is called when the zoom or the divider changed */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.scratch = new OffscreenCanvas(1, 1);
    /** @type {ImageBitmap | null} */
    this.base = null;
    /** @type {ImageBitmap | null} */
    this.full = null;
    /** @type {ImageBitmap | null} */
    this.alpha = null;
    /** @type {ImageBitmap | null} */
    this.original = null;
    this.size = { width: 0, height: 0 };
    this.beta = 0;
    /** @type {Comparison} */
    this.comparison = "off";
    this.divider = 0.5;
    this.fitted = true;
    this.scale = 1; // screen pixels of a picture's pixel
    this.centre = { x: 0, y: 0 }; // of the view, in the picture
    this.pending = false;
    /** @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    this.dragsDivider = false;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#listen();
  }

  /**
   * Begins anew with pictures of a size. Bitmaps belong to the caller.
   * @param {number} width @param {number} height @param {boolean} keep show what is shown until other pictures are there
   */
  reset(width, height, keep) {
    const same = width === this.size.width && height === this.size.height;
    if (!same) this.fitted = true;
    if (!same || !keep) this.base = this.full = this.alpha = null;
    this.size = { width, height };
    this.#update();
  }

  /** Takes other pictures or settings, and draws soon. @param {Partial<Pick<Viewer, "base" | "full" | "alpha" | "original" | "beta" | "comparison" | "divider">>} settings */
  set(settings) {
    Object.assign(this, settings);
    this.#update();
  }

  /** Shows all of the picture. */
  fit() {
    this.fitted = true;
    this.#update();
  }

  /** Zooms to so many screen pixels a pixel, or by a factor. @param {{to?: number, by?: number, at?: {x: number, y: number}}} how at: CSS pixels of the canvas that stay where they are */
  zoom({ to, by = 1, at }) {
    const pane = this.#panes()[0];
    const point = at ? this.#toPane(at) : { x: pane.width / 2, y: pane.height / 2 };
    const target = Math.min(MAX_ZOOM, Math.max(Math.min(this.#fitScale(), 1) / 2, to ?? this.scale * by));
    const away = { x: point.x - pane.width / 2, y: point.y - pane.height / 2 };
    this.centre.x += away.x / this.scale - away.x / target;
    this.centre.y += away.y / this.scale - away.y / target;
    this.scale = target;
    this.fitted = false;
    this.#update();
  }

  /** Moves the view by so many CSS pixels. @param {number} x @param {number} y */
  move(x, y) {
    this.centre.x -= (x * devicePixelRatio) / this.scale;
    this.centre.y -= (y * devicePixelRatio) / this.scale;
    this.fitted = false;
    this.#update();
  }

  /** Tells whether there is an original of the same size, and it is to be seen. */
  get compares() {
    const { original, size } = this;
    return this.comparison !== "off" && original?.width === size.width && original?.height === size.height;
  }

  /** Tells where the original begins, as a share of the canvas: on the right, or below where that leaves more room. */
  get split() {
    const stacked = this.comparison === "side" && this.canvas.width < this.canvas.height;
    return { share: this.comparison === "wipe" ? this.divider : 0.5, stacked };
  }

  #resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(clientWidth * devicePixelRatio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * devicePixelRatio));
    this.#update(true);
  }

  /** @param {boolean} [now] */
  #update(now) {
    if (this.fitted) {
      this.scale = this.#fitScale();
      this.centre = { x: this.size.width / 2, y: this.size.height / 2 };
    }
    this.centre.x = Math.min(this.size.width, Math.max(0, this.centre.x));
    this.centre.y = Math.min(this.size.height, Math.max(0, this.centre.y));
    if (now) this.#draw(); // a canvas that was resized is empty until then
    else if (!this.pending) {
      this.pending = true;
      requestAnimationFrame(() => {
        this.pending = false;
        this.#draw();
      });
    }
    this.onChange();
  }

  #fitScale() {
    const [pane] = this.#panes();
    const scale = Math.min(pane.width / (this.size.width || 1), pane.height / (this.size.height || 1));
    return Math.min(scale, LARGEST_FIT * devicePixelRatio);
  }

  /** @returns {Box[]} in screen pixels: one, or one each for the picture and the original */
  #panes() {
    const { width, height } = this.canvas;
    if (!this.compares || this.comparison === "wipe") return [{ x: 0, y: 0, width, height }];
    const gap = Math.round(2 * devicePixelRatio);
    if (this.split.stacked) {
      const half = Math.floor((height - gap) / 2);
      return [{ x: 0, y: 0, width, height: half }, { x: 0, y: half + gap, width, height: half }];
    }
    const half = Math.floor((width - gap) / 2);
    return [{ x: 0, y: 0, width: half, height }, { x: half + gap, y: 0, width: half, height }];
  }

  /** Returns where a point of the canvas lies in its pane, in screen pixels. @param {{x: number, y: number}} point */
  #toPane({ x, y }) {
    const [right, down] = [x * devicePixelRatio, y * devicePixelRatio];
    const inside = (/** @type {Box} */ pane) => right >= pane.x && down >= pane.y;
    const pane = this.#panes().findLast(inside) ?? this.#panes()[0];
    return { x: right - pane.x, y: down - pane.y };
  }

  #draw() {
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.base && !this.full && !this.original) return;
    const [pane, other] = this.#panes();
    if (this.base || this.full) this.#drawIn(pane, pane, (layer) => this.#blend(layer));
    if (!this.compares) return;
    const divided = { ...pane, x: pane.x + pane.width * this.divider, width: pane.width * (1 - this.divider) };
    this.#drawIn(other ?? pane, other ?? divided, (layer) => layer.drawImage(/** @type {ImageBitmap} */ (this.original), 0, 0));
    if (!other) {
      context.fillStyle = getComputedStyle(canvas).getPropertyValue("--divider");
      context.fillRect(Math.round(divided.x - devicePixelRatio), 0, Math.round(2 * devicePixelRatio), canvas.height);
    }
  }

  /**
   * Draws in a pane, and of that in a part of it.
   * @param {Box} pane @param {Box} part @param {(layer: OffscreenCanvasRenderingContext2D) => void} paint in pixels of the picture
   */
  #drawIn(pane, part, paint) {
    const { context, scratch, scale, centre, size } = this;
    [scratch.width, scratch.height] = [pane.width, pane.height]; // empties it, too
    const layer = /** @type {OffscreenCanvasRenderingContext2D} */ (scratch.getContext("2d"));
    const [left, top] = [pane.width / 2 - centre.x * scale, pane.height / 2 - centre.y * scale].map(Math.round);
    layer.setTransform(scale, 0, 0, scale, left, top);
    layer.imageSmoothingEnabled = scale < 1 || this.fitted;
    layer.imageSmoothingQuality = "high";
    paint(layer);
    context.save();
    context.beginPath();
    context.rect(part.x, part.y, part.width, part.height);
    context.clip();
    if (this.alpha) this.#pattern(pane.x + left, pane.y + top, size.width * scale, size.height * scale);
    context.drawImage(scratch, pane.x, pane.y);
    context.restore();
  }

  /** @param {OffscreenCanvasRenderingContext2D} layer */
  #blend(layer) {
    const { base, full, alpha, beta } = this;
    if (full && (beta < 1 || !base)) layer.drawImage(full, 0, 0);
    if (base && (beta > 0 || !full)) {
      layer.globalAlpha = full ? beta : 1;
      layer.drawImage(base, 0, 0);
      layer.globalAlpha = 1;
    }
    if (alpha) {
      layer.globalCompositeOperation = "destination-in";
      layer.drawImage(alpha, 0, 0);
    }
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  #pattern(x, y, width, height) {
    const { context } = this;
    const side = SQUARE * devicePixelRatio;
    const tile = new OffscreenCanvas(2 * side, 2 * side);
    const squares = /** @type {OffscreenCanvasRenderingContext2D} */ (tile.getContext("2d"));
    squares.fillStyle = "#bbb";
    squares.fillRect(0, 0, 2 * side, 2 * side);
    squares.fillStyle = "#eee";
    squares.fillRect(0, 0, side, side);
    squares.fillRect(side, side, side, side);
    context.fillStyle = /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
    context.fillRect(x, y, width, height);
  }

  #listen() {
    const { canvas, pointers } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom({ by: Math.exp(-event.deltaY / (event.deltaMode ? 10 : 300)), at: { x: event.offsetX, y: event.offsetY } });
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => {
      if (this.fitted) this.zoom({ to: Math.max(4, this.scale * 4), at: { x: event.offsetX, y: event.offsetY } });
      else this.fit();
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      this.dragsDivider = pointers.size === 1 && this.#nearDivider(event.offsetX);
    });
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const type of /** @type {const} */ (["pointerup", "pointercancel"])) {
      canvas.addEventListener(type, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("keydown", (event) => {
      const action = this.#keys(event.key);
      if (action && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        action();
      }
    });
  }

  /** @param {number} x */
  #nearDivider(x) {
    return this.compares && this.comparison === "wipe" && Math.abs(x - this.divider * this.canvas.clientWidth) < NEAR;
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const { pointers, canvas } = this;
    const last = pointers.get(event.pointerId);
    const now = { x: event.offsetX, y: event.offsetY };
    canvas.style.cursor = this.dragsDivider || this.#nearDivider(now.x) ? "col-resize" : "";
    if (!last) return;
    if (this.dragsDivider) {
      this.set({ divider: Math.min(1, Math.max(0, now.x / canvas.clientWidth)) });
      return;
    }
    if (pointers.size === 2) {
      const [fixed] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const distance = (/** @type {{x: number, y: number}} */ p) => Math.hypot(p.x - fixed.x, p.y - fixed.y);
      this.zoom({ by: distance(now) / Math.max(1, distance(last)), at: fixed });
    }
    this.move((now.x - last.x) / pointers.size, (now.y - last.y) / pointers.size);
    pointers.set(event.pointerId, now);
  }

  /** @param {string} key @returns {(() => void) | undefined} */
  #keys(key) {
    /** @type {Record<string, () => void>} */
    const actions = {
      "+": () => this.zoom({ by: STEP }),
      "=": () => this.zoom({ by: STEP }),
      "-": () => this.zoom({ by: 1 / STEP }),
      0: () => this.fit(),
      1: () => this.zoom({ to: 1 }),
      ArrowLeft: () => this.move(40, 0),
      ArrowRight: () => this.move(-40, 0),
      ArrowUp: () => this.move(0, 40),
      ArrowDown: () => this.move(0, -40),
    };
    return actions[key];
  }
}
