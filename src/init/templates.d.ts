/** `import text from "x.php" with { type: "text" }`: a script that is written out, not run. */
declare module "*.php" {
  const text: string;
  export default text;
}
