"""Load the pretrained weights of torchvision and timm into our networks.

`load_pretrained` takes the state dict of a network of torchvision or timm, from a file (.safetensors, or written by
`torch.save`) or in memory, and copies it into the same published network here, so that both give the same logits.
Tensors are matched by name; every family has a layout with the library's names for the layers of our blocks:

| library | networks here (`nas.networks.references`) | a file, for example |
|---|---|---|
| torchvision | mobilenet_v2 (any width) | mobilenet_v2-7ebf99e0.pth |
| torchvision | mobilenet_v3_large, mobilenet_v3_small | mobilenet_v3_large-5c1a4163.pth |
| torchvision | efficientnet_b0 to b7, efficientnet_v2_s, m, l | efficientnet_b0_rwightman-7f5810bc.pth |
| torchvision | mnasnet_b1 (1_0) and its widths | mnasnet1.0_top1_73.512-f206786ef8.pth |
| torchvision | shufflenet_v2 (x0_5 to x2_0) | shufflenetv2_x1-5666bf0f80.pth |
| timm | mobilenet_v1, v2, v3, v3_rw, v4_conv | mobilenetv4_conv_small.e2400_r224_in1k |
| timm | mobilenet_edgetpu_v2, lcnet | mobilenet_edgetpu_v2_m.ra4_e3600_r224_in1k, lcnet_100.ra2_in1k |
| timm | mnasnet_b1 (mnasnet_100), mnasnet_a1 (semnasnet_100), mnasnet_small | semnasnet_100.rmsp_in1k |
| timm | fbnet_c, fbnet_v3, single_path_nas (spnasnet_100) | fbnetc_100.rmsp_in1k, fbnetv3_b.ra2_in1k |
| timm | efficientnet_b0 to b5, lite0 to lite4, edgetpu_s, m, l (es, em, el) | efficientnet_lite0.ra_in1k |
| timm | mixnet_s, m, l | mixnet_s.ft_in1k |
| timm | ghostnet, repghostnet | ghostnet_100.in1k, repghostnet_100.in1k |
| timm | mobileone_s0 to s4, in their training form | mobileone_s0.apple_in1k |
| timm | mobilevit_xxs, xs, s | mobilevit_s.cvnets_in1k |
| timm | efficientvit_b0 to b3 | efficientvit_b0.r224_in1k |

timm's files are on its hub pages as `model.safetensors`. Images must be scaled and normalised as the library says.

timm's `tf_` networks are refused. They were ported from TensorFlow, which pads a convolution of stride 2 at the right
and bottom only; ours pad all sides, as torch does. Their tensors have the names and shapes of other networks, so that
only the name of a file or folder reveals them, and a state dict in memory cannot be refused.

Batch normalisation divides by the square root of variance + epsilon. Ours has torch's epsilon, 1e-5, everywhere. Where
the library's is larger (see `torchvision.py` and `timm.py`), the difference is added to the running variances: the
logits in evaluation mode are the same. In training mode batches are normalised with 1e-5, and running variances move
towards those of the batches, without the addition. So fine-tuning starts from a slightly different network, which
matters only for channels whose variance is not far above 1e-3. Momentum is torch's, too.
"""

from nas.networks.pretrained.load import Loaded, load_pretrained

__all__ = ["Loaded", "load_pretrained"]
