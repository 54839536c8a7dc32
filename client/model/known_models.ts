/** Models on the Hugging Face hub that this program serves, for those who have none yet. */

/** A model to pull. */
interface KnownModel {
  name: string;
  parameters: string;
  /** Of its packed file: memory that it takes too, beside the conversations. */
  size: string;
  note: string;
}

export const KNOWN_MODELS: readonly KnownModel[] = [
  {
    name: "microsoft/bitnet-b1.58-2B-4T",
    parameters: "2.4 B",
    size: "1.2 GB",
    note: "a good start",
  },
  { name: "tiiuae/Falcon3-1B-Instruct-1.58bit", parameters: "1.7 B", size: "1.4 GB", note: "small" },
  { name: "tiiuae/Falcon3-3B-Instruct-1.58bit", parameters: "3.2 B", size: "2.2 GB", note: "long context" },
  { name: "tiiuae/Falcon3-7B-Instruct-1.58bit", parameters: "7.5 B", size: "3.3 GB", note: "long context" },
  { name: "HF1BitLLM/Llama3-8B-1.58-100B-tokens", parameters: "8.0 B", size: "3.8 GB", note: "" },
  { name: "tiiuae/Falcon3-10B-Instruct-1.58bit", parameters: "10.3 B", size: "4.0 GB", note: "the largest" },
];
