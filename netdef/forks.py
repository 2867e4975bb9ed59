"""Field names that well-known forks of Caffe added, so that an error can say where they come from.

A key is a field's name, or Message.field where the bare name is too common to tell a fork.
Source: the caffe.proto of each fork; see the comments.
"""

NVIDIA = "NVIDIA's Caffe"
INTEL = "Intel's Caffe"
SSD = "the SSD fork (weiliu89/caffe)"
SSD_KIN = "the SSD fork (weiliu89/caffe) and its kin"
BOTH = "NVIDIA's and Intel's Caffe"
RCNN = "the Faster R-CNN and R-FCN forks"
SEGNET = "the SegNet fork"
PSPNET = "the PSPNet and DeepLab forks"
SENET = "the SENet fork"

_FIELDS: dict[str, tuple[str, ...]] = {
    # NVIDIA/caffe 0.17
    NVIDIA: (
        "forward_type", "backward_type", "forward_math", "backward_math", "cudnn_math_override",
        "trt_param", "detectnet_groundtruth_param", "detectnet_augmentation_param",
        "torch_pooling", "scale_filler", "scale_bias", "raw_data_type", "raw_diff_type",
        "raw_data", "raw_diff", "record_id", "parser_threads", "precache",
        "cudnn_convolution_algo_seeker", "conv_algos_override", "rampup_interval", "rampup_lr",
        "min_lr", "momentum_policy", "max_momentum", "momentum_power", "larc", "larc_policy",
        "larc_eta", "larc_turbo", "wd_policy", "wd_power", "test_and_snapshot_last_epochs",
        "max_weight_decay", "solver_data_type", "store_blobs_in_old_format",
        "use_gpu_transform", "img_rand_resize_lower", "img_rand_resize_upper",
        "rand_resize_ratio_lower", "rand_resize_ratio_upper", "vertical_stretch_lower",
        "vertical_stretch_upper", "horizontal_stretch_lower", "horizontal_stretch_upper",
        "interpolation_algo_up", "interpolation_algo_down", "allow_upscale",
        "default_forward_type", "default_backward_type", "default_forward_math",
        "default_backward_math", "global_grad_scale", "global_grad_scale_adaptive",
        "default_conv_algos_override", "reduce_buckets", "eltwise_mem_sharing",
        "LayerParameter.debug", "DataParameter.threads", "DataParameter.cache",
        "TransformationParameter.random_seed",
    ),
    # intel/caffe
    INTEL: (
        "multinode", "mn_activation_param", "mn_grad_compress_param", "spatial_dropout_param",
        "quantization_param", "reorg_param", "region_loss_param", "eval_detection_param",
        "avg_include_pad", "pre_fixed_normalizer", "use_weight_bias", "stats_batch_size",
        "bn_stats_batch_size", "compile_net_state", "conv_algorithm", "fusion_type",
        "show_per_class_result", "disabled_update", "warmup_iter", "warmup_start_lr",
        "local_lr_auto", "local_gw_ratio", "test_offset", "stagelr", "stageiter",
        "random_resize_param", "random_aspect_ratio_param", "bgr2rgb",
        "NetParameter.engine", "LayerParameter.engine", "SolverParameter.engine",
        "BatchNormParameter.relu", "BatchNormParameter.bias_term", "BatchNormParameter.filler",
        "ConvolutionParameter.relu", "ConvolutionParameter.negative_slope",
        "ConvolutionParameter.coeff", "DataParameter.side", "TransformationParameter.pad",
    ),
    BOTH: ("label_smoothing", "BatchNormParameter.engine", "BatchNormParameter.bias_filler"),
    # weiliu89/caffe, branch ssd; NVIDIA's and Intel's took these over
    SSD: ("video_data_param",),
    SSD_KIN: (
        "annotated_data_param", "multibox_loss_param", "permute_param", "prior_box_param",
        "detection_output_param", "detection_evaluate_param", "norm_param", "resize_param",
        "noise_param", "distort_param", "expand_param", "emit_constraint", "eval_type",
        "ap_version", "plateau_winsize", "minimum_loss", "iter_last_event",
        "TransformationParameter.crop_h", "TransformationParameter.crop_w",
    ),
    RCNN: (
        "roi_pooling_param", "psroi_pooling_param", "smooth_l1_loss_param",
        "box_annotator_ohem_param",
    ),
    SEGNET: ("upsample_param", "dense_image_data_param"),
    PSPNET: ("bn_param", "interp_param", "seg_data_param"),
    SENET: ("axpy_param",),
}  # fmt: skip

FORKS: dict[str, str] = {name: fork for fork, names in _FIELDS.items() for name in names}


def fork_of(message: str, field: str) -> str:
    """The fork that gave `message` that field, in words; "" if the table has none."""
    return FORKS.get(f"{message}.{field}") or FORKS.get(field, "")
